package evlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// maxErased bounds one statement of erasure.
const maxErased = 10_000

// Erase deletes salt and payload of these leaves and says so in the log, both or neither. Leaves, proofs and receipts stay as they are:
// what is gone can't be told from them any more. It gives how many had something to delete. Statements of erasure themselves stay.
func (l *Log) Erase(ctx context.Context, seqs []int64, actor, reason string) (int64, error) {
	seqs = slices.Compact(slices.Sorted(slices.Values(seqs)))
	switch {
	case len(seqs) == 0:
		return 0, fault.Invalid("未指明要删除哪些册页的内容")
	case len(seqs) > maxErased:
		return 0, fault.Invalid("一次最多删除%d条册页的内容", maxErased)
	case strings.TrimSpace(reason) == "":
		return 0, fault.Invalid("删除册页内容须写明原因")
	}
	leaves, err := l.BySeq(ctx, seqs)
	if err != nil {
		return 0, err
	}
	if len(leaves) != len(seqs) {
		return 0, fault.NotFound("其中%d条不在日志中", len(seqs)-len(leaves))
	}
	for _, f := range leaves {
		leaf, err := f.Decode()
		if err != nil {
			return 0, err
		}
		if leaf.Kind == chain.KindErased {
			return 0, fault.Invalid("第%d条是删除记录本身，不能删除", f.Seq)
		}
	}
	var gone int64
	err = pg.InTx(ctx, l.pool, func(tx *pg.Tx) error {
		if err := l.Append(tx, erased(seqs, actor, reason)); err != nil {
			return err
		}
		// After the log's own work: the database deletes only what a leaf says is erased.
		tx.BeforeCommit(&gone, func(ctx context.Context, tx *pg.Tx) error {
			var err error
			if gone, err = l.q.WithTx(tx).Erase(ctx, seqs); err != nil {
				return fmt.Errorf("erase payloads: %w", err)
			}
			return nil
		})
		return nil
	})
	return gone, err
}

// erased is the statement. Its key names the digest of the list: what zz_erase goes by.
func erased(seqs []int64, actor, reason string) chain.Entry {
	list := make([]string, len(seqs))
	p := chain.ErasedPayload{Actor: actor, Reason: reason}
	for i, s := range seqs {
		list[i] = strconv.FormatInt(s, 10)
		p.Leaves = append(p.Leaves, uint64(s))
	}
	sum := sha256.Sum256([]byte(strings.Join(list, ",")))
	return chain.Entry{Key: "erased/" + hex.EncodeToString(sum[:]), Kind: chain.KindErased,
		Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "erasure"}, Payload: p}
}
