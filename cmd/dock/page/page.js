'use strict'
// The station's page: what is on it comes from /state, what an officer touches goes to /act. It keeps nothing of its own but which slot and
// clip are being looked at.

const states = {
  empty: ['＋ 插入', 'muted'], disabled: ['⊘ 停用', 'muted'], unlocking: ['… 解锁中', 'busy'], reading: ['◔ 读卡中，勿取', 'warn'],
  takeable: ['✔ 可取走', 'good'], uploading: ['↑ 传输中，勿取', 'warn'], wipeable: ['✔ 已封存', 'good'], wiped: ['✔ 已清除', 'good'],
  attention: ['！待说明', 'bad'], unclaimed: ['？待认领', 'warn'], failed: ['✖ 需处理', 'bad'],
}
const reasons = ['更换电池', '设备故障', '误关机', '卡未插回']
const mistakes = ['误触开机', '忘记关机', '测试设备', '个人隐私']

let state = null
let look = { slot: 0, clip: -1, pin: null, typed: '', asking: '', free: '', all: false }
let drawn = ''

const $ = (id) => document.getElementById(id)

function el(tag, attrs, ...children) {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(attrs ?? {})) {
    if (k === 'class') e.className = v
    else if (k.startsWith('on')) e.addEventListener(k.slice(2), v)
    else if (v === true) e.setAttribute(k, '')
    else if (v !== false && v != null) e.setAttribute(k, v)
  }
  for (const c of children.flat()) if (c != null && c !== false) e.append(c)
  return e
}

function bytes(n) {
  if (!n) return '0'
  const u = ['B', 'KB', 'MB', 'GB', 'TB']
  const i = Math.min(4, Math.floor(Math.log(n) / Math.log(1024)))
  return (n / 1024 ** i).toFixed(i > 1 ? 1 : 0) + ' ' + u[i]
}
const clock = (t) => t ? new Date(t).toLocaleTimeString('zh-CN', { hour12: false }) : ''

let toastTimer
function toast(text) {
  const t = $('toast')
  t.textContent = text
  t.hidden = false
  clearTimeout(toastTimer)
  toastTimer = setTimeout(() => { t.hidden = true }, 5000)
}

async function act(what) {
  try {
    const r = await fetch('/act', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Zhizheng': '1' }, body: JSON.stringify(what) })
    const body = await r.json()
    if (!r.ok) { toast(body.error ?? '没有成功，请再试一次'); return false }
    state = body
    draw()
    return true
  } catch {
    toast('采集站程序没有应答')
    return false
  }
}

async function poll() {
  try {
    const r = await fetch('/state')
    state = await r.json()
    draw()
  } catch {
    $('away').textContent = '采集站程序没有应答，请联系装备管理员'
    $('away').hidden = false
  }
  setTimeout(poll, 700)
}

function slotButton(s) {
  const [word, tone] = states[s.state] ?? [s.state, '']
  const part = s.state === 'reading' ? (s.bytes ? s.read / s.bytes : 0) : (s.bytes ? (s.sent ?? 0) / s.bytes : 0)
  const busy = ['reading', 'takeable', 'uploading', 'attention'].includes(s.state) && s.bytes
  return el('button', { type: 'button', class: `slot ${s.state} ${look.slot === s.slot ? 'mine' : ''}`, onclick: () => { look.slot = s.slot; look.clip = -1; look.asking = ''; look.free = ''; look.all = false; drawn = ''; draw() } },
    el('b', {}, String(s.slot), el('span', { class: 'unseen' }, ' 号工位')), el('span', { class: 'who' }, s.officer_name || s.recorder || (s.state === 'unclaimed' ? '未识别' : '')),
    busy ? el('span', { class: 'bar' }, barOf(part)) : null,
    el('span', { class: 'state ' + tone }, word))
}

function barOf(part) {
  const i = el('i')
  i.style.setProperty('width', Math.round(Math.min(1, part || 0) * 100) + '%')
  return i
}

function draw() {
  if (!state) return
  $('title').textContent = `${state.township ?? ''}${state.name || '采集站'} ${state.station}`
  document.title = `${state.station} 采集站`
  $('demo').hidden = !state.demo
  const d = new Date(state.now)
  $('clock').textContent = d.toLocaleTimeString('zh-CN', { hour: '2-digit', minute: '2-digit', hour12: false })
  const l = state.live
  $('link').textContent = [l.queue_files ? `待传 ${l.queue_files} 段 ${bytes(l.queue_bytes)}` : '', l.rate > 1000 ? `↑ ${(l.rate * 8 / 1e6).toFixed(1)} Mbit/s` : '', l.done ? `约 ${clock(l.done).slice(0, 5)} 传完` : ''].filter(Boolean).join(' · ')
  const away = state.away ? `网络中断，影像先存在本站，联网后自动补传（${state.away}）` : l.problem
  $('away').textContent = away ?? ''
  $('away').hidden = !away
  const shape = JSON.stringify([state.live.slots, look.slot])
  if ($('slots').dataset.shape !== shape) {
    const had = document.activeElement?.closest?.('#slots') ? look.slot : 0
    $('slots').dataset.shape = shape
    $('slots').replaceChildren(...l.slots.map(slotButton))
    if (had) $('slots').children[had - 1]?.focus()
  }
  $('prompt').hidden = !!state.session
  right()
}

// right draws the right side anew only when something on it changed, so that a touch never meets another button than it aimed at.
function right() {
  const key = JSON.stringify([state.session?.id, state.mine, state.activities, state.pins, look])
  if (key === drawn) return
  if (document.activeElement?.tagName === 'TEXTAREA') return
  drawn = key
  const top = $('right').scrollTop
  $('right').replaceChildren(...(state.session ? officerSide() : look.pin != null ? pinSide() : idleSide()))
  $('right').scrollTop = top
}

function idleSide() {
  return [el('div', { class: 'idle' }, el('h2', {}, '归还记录仪'), el('ol', {},
    el('li', {}, '把记录仪插入任一空工位'), el('li', {}, '刷执法证，选今天的执法活动'), el('li', {}, '显示“可取走”后即可离开，影像由本站传完')),
    el('p', {}, '“可取走”：指纹已入册，影像已存在本站。“已封存”：每段影像的回执都已核对。'))]
}

function pinSide() {
  const press = (k) => () => {
    if (k === '⌫') look.typed = look.typed.slice(0, -1)
    else if (look.typed.length < 6) look.typed += k
    drawn = ''
    right()
    if (look.typed.length === 6) {
      const pin = look.typed
      look.typed = ''
      act({ do: 'pin', officer: look.pin, pin }).then((ok) => { if (ok) look.pin = null; drawn = ''; draw() })
    }
  }
  const back = el('button', { type: 'button', onclick: () => { look.pin = null; look.typed = ''; drawn = ''; draw() } }, '返回')
  if (!look.pin) {
    return [el('div', { class: 'head' }, el('h2', { class: 'grow' }, '您是哪一位？'), back),
      state.pins.length ? el('div', { class: 'names' }, state.pins.map((p) => el('button', { type: 'button', onclick: () => { look.pin = p.id; drawn = ''; right() } }, p.name)))
        : el('p', {}, '本乡镇还没有人设置 PIN，请联系装备管理员。')]
  }
  return [el('div', { class: 'head' }, el('h2', { class: 'grow' }, (state.pins.find((p) => p.id === look.pin)?.name ?? '') + '，请输入 PIN'), back),
    el('div', { class: 'pin', role: 'img', 'aria-label': `已输入 ${look.typed.length} 位` }, '●'.repeat(look.typed.length) + '○'.repeat(6 - look.typed.length)),
    el('div', { class: 'keys' }, ['1', '2', '3', '4', '5', '6', '7', '8', '9', '', '0', '⌫'].map((k) => k ? el('button', { type: 'button', onclick: press(k), 'aria-label': k === '⌫' ? '退格' : k }, k) : el('span')))]
}

function officerSide() {
  const me = state.session
  const own = (state.mine ?? []).filter((d) => d.officer_id === me.id)
  if (!look.slot || !(state.mine ?? []).some((d) => d.slot === look.slot)) look.slot = own[0]?.slot ?? 0
  const d = (state.mine ?? []).find((x) => x.slot === look.slot)
  const head = el('div', { class: 'head' }, el('div', { class: 'face', 'aria-hidden': 'true' }, me.name.slice(0, 1)),
    el('div', { class: 'grow' }, el('h2', {}, me.name + (d ? ` · ${d.slot} 号工位` : '')), d ? progressLine(d) : null),
    el('button', { type: 'button', onclick: () => { look = { slot: 0, clip: -1, pin: null, typed: '', asking: '', free: '', all: false }; act({ do: 'exit' }) } }, '退出'))
  if (!d) return [head, el('div', { class: 'idle' }, el('p', {}, '您没有记录仪插在本站。插入后在左边点它的工位；要领用，请点一台“可取走”的记录仪。'))]
  if (!d.own) return [head, el('div', { class: 'idle' }, el('p', {}, `${d.slot} 号工位是${d.officer_name || '别人'}的记录仪。`), takeButton(d))]
  const parts = [head]
  for (const w of [d.state === 'failed' ? d.note : '', ...(d.warnings ?? [])].filter(Boolean)) parts.push(el('p', { class: 'note' + (d.state === 'failed' && w === d.note ? ' bad' : '') }, w))
  if (d.state === 'unclaimed' || !d.recorder) parts.push(claim(d))
  parts.push(labels(d), ...d.gaps.map((g) => gapBox(d, g)), clips(d), foot(d))
  return parts
}

function progressLine(d) {
  if (d.state === 'reading') return el('p', { class: 'warn' }, `◔ 读卡中 ${bytes(d.read)} / ${bytes(d.bytes)}，请勿取走`)
  return el('p', { class: 'good' }, `${d.fingerprints ?? 0} 段指纹已入册 ${clock(d.logged_at)} · 已封存 ${d.sealed ?? 0} / ${d.files ?? 0}`)
}

function claim(d) {
  return el('div', { class: 'gap' }, el('h3', { class: 'warn' }, '这张卡是哪台记录仪的？'), el('p', {}, `卷 ${d.volume ?? ''}：影像照样入册、封存；认领后下次自动识别。`),
    el('div', { class: 'names' }, (state.free ?? []).map((s) => el('button', { type: 'button', onclick: () => act({ do: 'claim', slot: d.slot, recorder: s }) }, s))))
}

function labels(d) {
  const clip = look.clip >= 0 ? d.items[look.clip] : null
  const chosen = clip ? clip.activity || d.activity : d.activity
  const order = (clip ? clip.preset : d.preset).map((i) => state.activities[i]).filter(Boolean)
  const five = order.slice(0, 5)
  // what was chosen is always to be seen
  const shown = look.all || order.findIndex((a) => a.id === chosen) >= 5 ? order : five
  return el('div', {}, el('h3', {}, clip ? `${clip.name} 是什么执法活动？` : '今天是什么执法活动？ ', el('small', { class: 'muted' }, clip ? '' : '可跳过；也可在下面逐段选')),
    el('div', { class: shown.length === 5 ? 'six' : 'six many' }, shown.map((a) => el('button', { type: 'button', class: a.more ? 'planned' : '', 'aria-pressed': String(chosen === a.id), onclick: () => act({ do: 'label', slot: d.slot, file: look.clip, activity: a.id }) },
      el('span', { class: 'act' }, a.name), a.more ? el('small', {}, a.more) : null))),
    order.length > 5 && (shown === five || look.all) ? el('button', { type: 'button', class: 'more', 'aria-expanded': String(look.all), onclick: () => { look.all = !look.all; drawn = ''; draw() } }, look.all ? '收起' : `更多执法活动（${order.length - 5}）`) : null,
    clip ? el('div', { class: 'two' }, el('button', { type: 'button', onclick: () => { look.clip = -1; look.asking = ''; look.all = false; drawn = ''; draw() } }, '← 回到全部影像'),
      clip.mistaken ? el('p', { class: 'warn' }, '已标记误录：' + clip.mistaken) : el('button', { type: 'button', onclick: () => { look.asking = look.asking === 'mistaken' ? '' : 'mistaken'; drawn = ''; draw() } }, '这段是误录')) : null,
    clip && look.asking === 'mistaken' ? el('div', { class: 'gap' }, el('h3', {}, '为什么是误录？'), el('p', { class: 'muted' }, '误录的影像限制查看，不会删除。'),
      el('div', { class: 'two' }, mistakes.map((m) => el('button', { type: 'button', onclick: () => act({ do: 'mistaken', slot: d.slot, file: look.clip, reason: m }).then((ok) => { if (ok) { look.asking = ''; drawn = ''; draw() } }) }, m)))) : null)
}

function gapBox(d, g) {
  const n = g.last - g.first + 1
  const title = g.first === g.last ? `缺失 ${g.first}` : `缺失 ${g.first}–${g.last}`
  const say = (reason) => act({ do: 'gap', slot: d.slot, first: g.first, series: g.series, reason }).then((ok) => { if (ok) { look.free = ''; drawn = ''; draw() } })
  const id = `${g.series}/${g.first}`
  if (g.reason) return el('div', { class: 'gap told' }, el('h3', {}, `${title}：${g.reason}`), el('p', { class: 'muted' }, '由文件名推断，原因已入册。'))
  return el('div', { class: 'gap' }, el('h3', { class: 'bad' }, title), el('p', {}, `按文件名推断，${g.from ?? ''} 与 ${g.to ?? ''} 之间有 ${n} 段没有到。请说明原因：`),
    el('div', { class: 'two' }, reasons.map((r) => el('button', { type: 'button', onclick: () => say(r) }, r))),
    look.free === id ? el('div', {}, el('textarea', { id: 'why', maxlength: '200', 'aria-label': '原因' }), el('button', { type: 'button', class: 'primary', onclick: () => { const t = $('why').value; document.activeElement.blur(); say(t) } }, '写入'))
      : el('button', { type: 'button', onclick: () => { look.free = id; drawn = ''; draw(); $('why')?.focus() } }, '其他原因…'))
}

function clips(d) {
  if (!d.items.length) return el('p', { class: 'muted' }, d.state === 'reading' ? '正在看卡里有什么…' : '卡里没有影像。')
  const word = (f) => f.mistaken ? ['误录', 'warn'] : f.status === 'sealed' || f.status === 'duplicate' ? ['已封存', 'good'] : f.status === 'logged' ? ['指纹已入册', 'busy'] : f.status === 'rejected' ? ['未封存：' + (f.error ?? ''), 'bad'] : ['待读', 'muted']
  const name = (f) => state.activities.find((a) => a.id === (f.activity || d.activity))?.name ?? ''
  return el('ul', { class: 'clips' }, d.items.map((f, i) => { const [w, tone] = word(f)
    return el('li', {}, el('button', { type: 'button', 'aria-pressed': String(look.clip === i), onclick: () => { look.clip = look.clip === i ? -1 : i; look.asking = ''; look.all = false; drawn = ''; draw(); $('right').scrollTop = 0 } },
      el('span', { class: 'name' }, f.name), el('span', { class: 'muted' }, [name(f), bytes(f.size)].filter(Boolean).join(' · ')), el('span', { class: tone }, w))) }))
}

function takeButton(d) {
  const may = ['takeable', 'wipeable', 'wiped', 'attention'].includes(d.state) && d.recorder
  return el('button', { type: 'button', class: '', disabled: !may, onclick: async () => { if (await act({ do: 'take', slot: d.slot })) toast(`已登记领用：${d.recorder}，请取出`) } }, d.taken ? '✔ 已领用' : '领用')
}

function foot(d) {
  const open = d.gaps.filter((g) => !g.reason).length
  const ready = !['reading', 'uploading', 'unlocking'].includes(d.state)
  return el('div', { class: 'foot' },
    el('button', { type: 'button', class: 'primary go', disabled: !ready, onclick: async () => { if (await act({ do: 'confirm', slot: d.slot })) { const mine = state.mine.find((x) => x.slot === d.slot); toast(open ? '回单已开具；还有缺失没有说明' : '回单已开具'); if (mine?.slip) slip(mine.slip) } } },
      ready ? '✔ 确认归还，出回单' : '请稍候…'),
    el('button', { type: 'button', 'aria-pressed': String(d.urgent), onclick: () => act({ do: 'urgent', slot: d.slot, on: !d.urgent }) }, d.urgent ? '✔ 优先传' : '优先传'),
    takeButton(d), el('button', { type: 'button', disabled: !d.slip, onclick: () => slip(d.slip) }, '看回单'))
}

async function slip(id) {
  const text = await (await fetch('/slip/' + id)).text()
  $('right').replaceChildren(el('div', { class: 'head' }, el('h2', { class: 'grow' }, '归还回单'), el('button', { type: 'button', onclick: () => { drawn = ''; draw() } }, '返回'), el('button', { type: 'button', class: 'primary', onclick: () => window.print() }, '打印')),
    el('pre', { class: 'slip', tabindex: '0' }, text))
  drawn = JSON.stringify([state.session?.id, state.mine, state.activities, state.pins, look])
}

// A card reader is a keyboard that types a number and presses Enter, quickly.
let card = ''
let lastKey = 0
document.addEventListener('keydown', (e) => {
  if (document.activeElement?.tagName === 'TEXTAREA' || e.ctrlKey || e.altKey || e.metaKey) return
  const now = performance.now()
  if (now - lastKey > 300) card = ''
  lastKey = now
  if (e.key === 'Enter' && card.length >= 4) {
    e.preventDefault()
    const number = card
    card = ''
    look = { slot: 0, clip: -1, pin: null, typed: '', asking: '', free: '', all: false }
    act({ do: 'card', number })
  } else if (e.key.length === 1) card += e.key
})
$('prompt').addEventListener('click', () => { look.pin = ''; look.typed = ''; drawn = ''; draw() })
poll()
