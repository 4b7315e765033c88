package chain

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Sentence says in one line what a leaf of this kind records, without its particulars; en asks for English.
func (k Kind) Sentence(en bool) string {
	i, ok := InfoOf(k)
	switch {
	case ok && en:
		return i.En
	case ok:
		return i.Zh
	case en:
		return fmt.Sprintf("kind %d, unknown to this version", k)
	default:
		return fmt.Sprintf("本版本不认识的事项（%d）", k)
	}
}

// Describe says what a leaf records with the particulars of its payload, for those who may read that. A payload that was erased, or
// that this version can't read, leaves the kind's own sentence.
func Describe(k Kind, payload []byte, en bool) string {
	s := k.Sentence(en)
	if payload == nil {
		return s
	}
	p, err := DecodePayload(k, payload)
	if err != nil {
		return s
	}
	var facts []string
	if d, ok := p.(interface{ facts(w words) []string }); ok {
		for _, f := range d.facts(words{en}) {
			if f != "" {
				facts = append(facts, f)
			}
		}
	}
	if len(facts) == 0 {
		return s
	}
	if en {
		return s + ": " + strings.Join(facts, ", ")
	}
	return s + "：" + strings.Join(facts, "，")
}

// words chooses the language of a sentence. Every method leaves out what the payload doesn't tell.
type words struct{ en bool }

func (w words) say(zh, en string, a ...any) string {
	if w.en {
		return fmt.Sprintf(en, a...)
	}
	return fmt.Sprintf(zh, a...)
}

// text names a fact that may be absent.
func (w words) text(zh, en, v string) string {
	if v == "" {
		return ""
	}
	return w.say(zh+" %s", en+" %s", v)
}

func (w words) by(actor string) string { return w.text("经手", "by", actor) }

func (w words) digest(d []byte) string {
	if len(d) == 0 {
		return ""
	}
	return "SHA-256 " + hex.EncodeToString(d)
}

func (w words) bytes(n int64) string { return w.say("%d 字节", "%d bytes", n) }

// china is where the county is: sentences are for its people.
var china = time.FixedZone("UTC+8", 8*60*60)

func (w words) time(zh, en string, ms int64) string {
	if ms == 0 {
		return ""
	}
	return w.say(zh+" %s", en+" %s", time.UnixMilli(ms).In(china).Format("2006-01-02 15:04:05"))
}

func (w words) yuan(fen int64) string {
	sign := ""
	if fen < 0 {
		sign, fen = "-", -fen
	}
	return w.say("%s%d.%02d 元", "%s%d.%02d yuan", sign, fen/100, fen%100)
}

func (p *ManifestPayload) facts(w words) []string {
	return []string{w.text("证据", "evidence", p.EvidenceID), w.time("收到于", "received", p.ReceivedAt)}
}

func (p *EquivocationPayload) facts(w words) []string {
	return []string{w.say("前一份为第 %d 页", "the first is leaf %d", p.FirstLeaf)}
}

func (p *ManifestNamePayload) facts(w words) []string {
	return []string{w.text("证据", "evidence", p.EvidenceID)}
}

func (p *AnomalyPayload) facts(w words) []string {
	return []string{anomaly(w, p.What), w.say("计数 %d–%d", "counters %d–%d", p.First, p.Last), p.Detail}
}

func anomaly(w words, what string) string {
	switch what {
	case "clock-jump":
		return w.say("时钟跳变", "clock jump")
	case "counter-reset":
		return w.say("计数重置", "counter reset")
	case "chain-break":
		return w.say("前后不相接", "links don't meet")
	case "gap-explained":
		return w.say("缺失已说明", "gap explained")
	case "inferred-gap-explained":
		return w.say("推断缺失已说明", "inferred gap explained")
	case "wiped-unsealed":
		return w.say("未封存即清除原件", "original removed before it was sealed")
	}
	return what
}

func (p *SealedPayload) facts(w words) []string {
	check := w.say("封存前重读", "read again before sealing")
	if p.Check == "attested" {
		check = w.say("存储已证实", "attested by the store")
	}
	return []string{w.digest(p.SHA256), w.bytes(p.Size), check, w.time("留存至", "kept until", p.RetainUntil)}
}

func (p *VerifiedPayload) facts(w words) []string {
	sm3 := ""
	if len(p.SM3) > 0 {
		sm3 = "SM3 " + hex.EncodeToString(p.SM3)
	}
	return []string{w.digest(p.SHA256), sm3, w.bytes(p.Size)}
}

func (p *CustodyPayload) facts(w words) []string {
	return []string{w.by(p.Actor), w.text("案件", "case", p.CaseID), w.text("事由", "reason:", p.Reason), w.time("至", "until", p.Until)}
}

func (p *ClippedPayload) facts(w words) []string {
	return []string{w.text("片段", "clip", p.Clip), w.say("第 %.1f–%.1f 秒", "second %.1f–%.1f", float64(p.FromMS)/1000, float64(p.ToMS)/1000), w.text("工具", "tool", p.Tool), w.by(p.Actor)}
}

func (p *DeletedPayload) facts(w words) []string {
	return []string{w.digest(p.SHA256), w.bytes(p.Size), w.time("留存至", "kept until", p.RetainUntil), w.text("事由", "reason:", p.Reason), w.by(p.Actor)}
}

func (p *CasePayload) facts(w words) []string {
	root := ""
	if len(p.EvidenceRoot) > 0 {
		root = w.say("证据根 %x", "evidence root %x", p.EvidenceRoot)
	}
	return []string{w.text("案件", "case", p.CaseID), w.text("环节", "stage", p.Stage), w.text("权力事项", "power item", p.PowerItem), root, p.Note, w.by(p.Actor)}
}

func (p *PostingPayload) facts(w words) []string {
	var amount int64
	for _, l := range p.Lines {
		amount += max(l.Fen, 0)
	}
	return []string{w.text("乡镇", "township", p.Township), w.yuan(amount), p.Memo, w.text("冲销", "reverses", p.Reverses), w.text("规则", "rule", p.Rule), w.by(p.Actor)}
}

func (p *AllotmentPayload) facts(w words) []string {
	return []string{w.text("乡镇", "township", p.Township), w.say("%d 年", "year %d", p.Year), w.yuan(p.Fen), p.Formula, w.by(p.Actor)}
}

func (p *KeyPayload) facts(w words) []string {
	return []string{w.say("密钥 %x", "key %x", p.KeyID), w.text("设备", "device", p.DeviceID), w.text("事由", "reason:", p.Reason), w.by(p.Actor)}
}

func (p *PowerPayload) facts(w words) []string {
	return []string{p.PowerItem, w.text("乡镇", "township", p.Township), w.text("自", "from", p.From), w.text("至", "to", p.To), w.text("批次", "batch", p.Batch), w.by(p.Actor)}
}

func (p *DeviceStatePayload) facts(w words) []string {
	return []string{w.time("收到于", "received", p.ReceivedAt)}
}

func (p *CertificatePayload) facts(w words) []string {
	return []string{p.CertificateID, w.text("人员", "officer", p.OfficerID), w.text("自", "from", p.From), w.text("至", "to", p.To), w.text("事由", "reason:", p.Reason), w.by(p.Actor)}
}

func (p *RecorderPayload) facts(w words) []string {
	return []string{w.text("记录仪", "recorder", p.Recorder), w.text("人员", "officer", p.Officer), w.text("采集站", "station", p.Station), w.time("于", "at", p.At)}
}

func (p *LogKeyPayload) facts(w words) []string {
	act := p.Act
	switch act {
	case "added":
		act = w.say("新增", "added")
	case "retired":
		act = w.say("停用旧密钥", "old key retired")
	}
	return []string{act, p.New, w.text("事由", "reason:", p.Reason), w.by(p.Actor)}
}

func (p *WitnessesPayload) facts(w words) []string {
	n := 0
	for line := range strings.Lines(p.Policy) {
		if strings.HasPrefix(line, "witness ") {
			n++
		}
	}
	return []string{w.say("%d 个见证方", "%d witnesses", n), w.by(p.Actor)}
}

func (p *AuditPayload) facts(w words) []string {
	result := w.say("根一致，0 处不符", "root agrees, nothing amiss")
	if p.Findings > 0 {
		result = w.say("%d 处不符，首处：%s", "%d findings, the first: %s", p.Findings, p.First)
	}
	return []string{w.say("%d 页", "%d leaves", p.Size), result, w.say("用时 %.1f 秒", "took %.1f s", float64(p.TookMS)/1000)}
}

func (p *TimestampPayload) facts(w words) []string {
	return []string{p.Authority, w.time("签发时间", "time", p.GenTime)}
}

func (p *CanaryPayload) facts(w words) []string {
	result := w.say("锁定有效，删除、覆盖、缩短均被拒绝", "the lock held against deletion, overwriting, shortening")
	if !p.Held {
		result = w.say("锁定被突破", "the lock did not hold")
	}
	return []string{p.Store, result}
}

func (p *RereadPayload) facts(w words) []string {
	return []string{w.say("%d 件", "%d objects", p.Objects), w.bytes(p.Bytes), w.say("损坏 %d", "%d damaged", p.Damaged), w.say("缺失 %d", "%d missing", p.Missing)}
}

func (p *DrillPayload) facts(w words) []string {
	found := 0
	for _, s := range p.Tampers {
		if s.Found {
			found++
		}
	}
	return []string{w.say("%d 种篡改，识破 %d 种", "%d ways of tampering, %d found", len(p.Tampers), found), w.by(p.Actor)}
}

func (p *ErasedPayload) facts(w words) []string {
	return []string{w.say("%d 页的内容", "payloads of %d leaves", len(p.Leaves)), w.text("事由", "reason:", p.Reason), w.by(p.Actor)}
}

func (p *NotePayload) facts(words) []string {
	first, _, _ := strings.Cut(p.Text, "\n")
	return []string{first}
}

func (p *CommandPayload) facts(w words) []string {
	return []string{w.say("第 %d 号", "number %d", p.ID), w.text("设备", "device", p.Device), command(w, p.Command), w.digest(p.Digest), w.time("有效至", "until", p.Expires), w.text("事由", "reason:", p.Reason), w.by(p.Actor)}
}

func (p *CommandEndPayload) facts(w words) []string {
	outcome := p.Outcome
	switch outcome {
	case "done":
		outcome = w.say("已执行", "done")
	case "refused":
		outcome = w.say("设备拒绝", "refused")
	case "expired":
		outcome = w.say("逾期", "expired")
	}
	return []string{w.say("第 %d 号", "number %d", p.ID), w.text("设备", "device", p.Device), outcome, w.text("事由", "reason:", p.Reason)}
}

func command(w words, name string) string {
	switch name {
	case "locate":
		return w.say("定位", "locate")
	case "lock":
		return w.say("锁定", "lock")
	case "sync-clock":
		return w.say("校时", "set the clock")
	case "config":
		return w.say("配置", "configure")
	}
	return name
}
