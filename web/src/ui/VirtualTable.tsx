// The one table for long lists: only the rows in view exist in the page, and it is still a table to a screen reader.
// Up and Down choose a row, Enter opens it, Home and End go to the ends.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

export type Column<T> = { key: string; title: ReactNode; width: string; cell: (row: T) => ReactNode; num?: boolean };

type Props<T> = {
  label: string;
  rows: T[];
  columns: Column<T>[];
  rowKey: (row: T) => string;
  rowHeight: number;
  minWidth?: number;
  total?: number; // how many there are when not all are loaded, -1 when unknown
  onOpen?: (row: T) => void;
  onEnd?: () => void; // the last rows came into view
  rowClass?: (row: T) => string;
  wide?: (row: T) => ReactNode; // a row that is no row of columns: its one cell spans them all
  empty: ReactNode;
};

export function VirtualTable<T>({ label, rows, columns, rowKey, rowHeight, minWidth = 900, total, onOpen, onEnd, rowClass, wide, empty }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const v = useVirtualizer({ count: rows.length, getScrollElement: () => box.current, estimateSize: () => rowHeight, overscan: 8, getItemKey: (i) => (rows[i] ? rowKey(rows[i]) : i) });
  const items = v.getVirtualItems();
  const lastShown = items[items.length - 1]?.index ?? -1;
  useEffect(() => {
    if (onEnd && lastShown >= rows.length - 10 && rows.length > 0) onEnd();
  }, [lastShown, rows.length, onEnd]);
  const grid = { gridTemplateColumns: columns.map((c) => c.width).join(" ") };
  const move = (to: number) => {
    const i = Math.max(0, Math.min(rows.length - 1, to));
    setAt(i);
    v.scrollToIndex(i);
  };
  const onKey = (e: KeyboardEvent) => {
    if (e.target !== box.current || e.nativeEvent.isComposing || e.ctrlKey || e.metaKey || e.altKey) return;
    const page = Math.max(1, Math.floor((box.current?.clientHeight ?? 400) / rowHeight) - 2);
    const step: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 };
    const to = step[e.key];
    const row = rows[at];
    if (to !== undefined) {
      e.preventDefault();
      move(to);
    } else if (e.key === "Enter" && row && onOpen) {
      e.preventDefault();
      onOpen(row);
    }
  };
  const active = at >= 0 && at < rows.length ? `${label}-${at}` : undefined;
  return (
    <div className="vt" style={{ ["--vt-min" as string]: `${minWidth}px` }}>
      <div className="vt-scroll" ref={box} tabIndex={0} role="table" aria-label={label} aria-rowcount={total ?? rows.length + 1} onKeyDown={onKey} aria-activedescendant={active}>
        <div role="rowgroup">
          <div className="vt-head" style={grid} role="row" aria-rowindex={1}>
            {columns.map((c) => <div key={c.key} role="columnheader" className={c.num ? "num" : undefined}>{c.title}</div>)}
          </div>
        </div>
        {rows.length === 0 ? (
          <div role="rowgroup"><div role="row"><div role="cell">{empty}</div></div></div>
        ) : (
          <div className="vt-body" style={{ height: v.getTotalSize() }} role="rowgroup">
            {items.map((it) => {
              const row = rows[it.index];
              if (row === undefined) return null;
              const whole = wide?.(row);
              return (
                <div key={it.key} id={`${label}-${it.index}`} className={`vt-row ${onOpen && !whole ? "link" : ""} ${it.index === at ? "on" : ""} ${rowClass?.(row) ?? ""}`} style={{ ...grid, height: rowHeight, transform: `translateY(${it.start}px)` }}
                  role="row" aria-rowindex={it.index + 2} onClick={(e) => {
                    setAt(it.index);
                    if (onOpen && !(e.target as Element).closest("a,button,input") && getSelection()?.isCollapsed !== false) onOpen(row);
                  }}>
                  {whole ? <div role="cell" aria-colspan={columns.length} style={{ gridColumn: "1 / -1" }}>{whole}</div>
                    : columns.map((c) => <div key={c.key} role="cell" className={c.num ? "num" : undefined}>{c.cell(row)}</div>)}
                </div>
              );
            })}
          </div>
        )}
      </div>
    </div>
  );
}
