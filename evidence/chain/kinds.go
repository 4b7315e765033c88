package chain

import "sort"

// Kind numbers what a leaf records. Numbers are part of the log's format: never reused, never renumbered.
type Kind uint16

// The registry of kinds. Each has a payload struct in payloads.go and a sentence in both languages below.
const (
	KindManifest     Kind = 1 // subject: signing key; a device's signed statement about one clip
	KindEquivocation Kind = 2 // subject: signing key; two manifests for one (key, epoch, counter)
	KindManifestName Kind = 3 // subject: evidence; the same bytes arrived under another name

	KindSealed     Kind = 10 // subject: evidence item, as are all custody kinds
	KindVerified   Kind = 11
	KindDamaged    Kind = 12
	KindViewed     Kind = 13
	KindDownloaded Kind = 14
	KindExported   Kind = 15
	KindLinked     Kind = 16
	KindUnlinked   Kind = 17
	KindHoldSet    Kind = 18
	KindHoldActive Kind = 19 // the store confirmed the hold
	KindHoldLifted Kind = 20
	KindRetention  Kind = 21
	KindRestricted Kind = 22 // 误录
	KindUploading  Kind = 23

	KindCaseOpened   Kind = 40 // subject: case
	KindCaseStage    Kind = 41
	KindCaseDecided  Kind = 42
	KindCaseExported Kind = 43

	KindPosting        Kind = 60 // subject: township ledger
	KindAllotment      Kind = 61
	KindPostingRefused Kind = 62

	KindKeyEnrolled Kind = 80 // subject: the key
	KindKeyRevoked  Kind = 81
	KindPowerGrant  Kind = 82 // subject: township
	KindPowerRecall Kind = 83
	KindDeviceState Kind = 84 // subject: signing key

	KindStoreProbe Kind = 90 // subject: the platform
	KindAudit      Kind = 91
	KindTimestamp  Kind = 92
)

// KindInfo names a kind for people.
type KindInfo struct {
	Kind   Kind
	Name   string // stable machine name, used by the API
	Zh, En string // one sentence without the particulars
}

var kinds = map[Kind]KindInfo{}

func register(k Kind, name, zh, en string) {
	kinds[k] = KindInfo{k, name, zh, en}
}

var _ = func() bool {
	register(KindManifest, "manifest", "指纹已入册", "fingerprint logged")
	register(KindEquivocation, "equivocation", "同一计数出现两份影像清单", "two manifests for one counter")
	register(KindManifestName, "other-name", "同一影像以另一文件名出现", "the same bytes arrived under another name")
	register(KindSealed, "sealed", "封存入库", "sealed")
	register(KindVerified, "verified", "复核：重读字节，摘要一致", "bytes read again, digests agree")
	register(KindDamaged, "damaged", "复核：重读字节，摘要不一致", "bytes read again, digests differ")
	register(KindViewed, "viewed", "查看", "viewed")
	register(KindDownloaded, "downloaded", "下载", "downloaded")
	register(KindExported, "exported", "导出证据包", "exported in a bundle")
	register(KindLinked, "linked", "关联案件", "linked to a case")
	register(KindUnlinked, "unlinked", "解除案件关联", "unlinked from a case")
	register(KindHoldSet, "hold-set", "设置保全", "legal hold set")
	register(KindHoldActive, "hold-active", "保全已由存储确认", "legal hold confirmed by the store")
	register(KindHoldLifted, "hold-lifted", "解除保全", "legal hold lifted")
	register(KindRetention, "retention", "延长留存期限", "retention extended")
	register(KindRestricted, "restricted", "标记误录，限制查看", "marked as mistaken recording, restricted")
	register(KindUploading, "uploading", "开始上传影像", "upload started")
	register(KindCaseOpened, "case-opened", "立案", "case filed")
	register(KindCaseStage, "case-stage", "办案环节推进", "case moved to another stage")
	register(KindCaseDecided, "case-decided", "作出处罚决定，冻结证据", "decided, evidence frozen")
	register(KindCaseExported, "case-exported", "导出案件证据包", "case bundle exported")
	register(KindPosting, "posting", "记账", "ledger posting")
	register(KindAllotment, "allotment", "核定额度", "yearly allotment set")
	register(KindPostingRefused, "posting-refused", "拒绝记账", "ledger posting refused")
	register(KindKeyEnrolled, "key-enrolled", "设备密钥登记", "device key enrolled")
	register(KindKeyRevoked, "key-revoked", "设备密钥吊销", "device key revoked")
	register(KindPowerGrant, "power-granted", "权力事项下放", "power item handed down")
	register(KindPowerRecall, "power-recalled", "权力事项收回", "power item taken back")
	register(KindDeviceState, "device-state", "设备签名状态", "signed device state")
	register(KindStoreProbe, "store-probe", "存储探测", "store probed")
	register(KindAudit, "audit", "全册核验", "log audited")
	register(KindTimestamp, "timestamp", "可信时间戳", "trusted timestamp")
	return true
}()

// InfoOf gives a kind's names; ok is false for a number this version doesn't know.
func InfoOf(k Kind) (KindInfo, bool) {
	i, ok := kinds[k]
	return i, ok
}

// Kinds lists the registry in order of numbers.
func Kinds() []KindInfo {
	all := make([]KindInfo, 0, len(kinds))
	for _, i := range kinds {
		all = append(all, i)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].Kind < all[b].Kind })
	return all
}

// Subject kinds: what a chain of leaves is about. With the id they make the opaque subject of a leaf.
const (
	SubjectKey      = "key"      // id: hex SHA-256 of the key's SubjectPublicKeyInfo
	SubjectEvidence = "evidence" // id: evidence id
	SubjectCase     = "case"     // id: case id
	SubjectLedger   = "ledger"   // id: township code
	SubjectTownship = "township" // id: township code
	SubjectPlatform = "platform" // id: "platform"
)
