package chain

import "slices"

// Kind numbers what a leaf records. Numbers are part of the log's format: never reused, never renumbered.
type Kind uint16

// The registry of kinds. Each has a payload struct in payloads.go and a sentence in both languages below.
const (
	KindManifest     Kind = 1 // subject: signing key; a device's signed statement about one clip
	KindEquivocation Kind = 2 // subject: signing key; two manifests for one (key, epoch, counter)
	KindManifestName Kind = 3 // subject: evidence; the same bytes arrived under another name
	KindAnomaly      Kind = 4 // subject: signing key; a clock jump, a reset counter, anything odd about a device's own chain

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
	KindClipped    Kind = 24 // a clip was made of it: new evidence that names this one
	KindShared     Kind = 25
	KindDeleted    Kind = 26 // at the end of retention: the store shows it no more
	KindGlimpsed   Kind = 27 // somebody was shown its poster, a frame of it
	KindWiped      Kind = 28 // the original was removed from its recorder, after a verified receipt
	KindLabelled   Kind = 29 // an officer said which activity it shows
	KindDeleting   Kind = 30 // that it is going to be, before any byte goes
	KindLateReason Kind = 31 // why it was uploaded late

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
	KindDeviceState Kind = 84 // subject: signing key; its signed statement of where its counter stands, closing ones included
	KindCertificate Kind = 85 // subject: the officer
	KindLogKey      Kind = 86 // subject: the platform, as is the following
	KindWitnesses   Kind = 87 // who witnesses, and how many must
	KindTaken       Kind = 88 // subject: the recorder, which an officer took
	KindReturned    Kind = 89

	KindStoreProbe Kind = 90 // subject: the platform, as are the following
	KindAudit      Kind = 91
	KindTimestamp  Kind = 92
	KindCanary     Kind = 93
	KindReread     Kind = 94
	KindDrill      Kind = 95
	KindErased     Kind = 96

	KindCommandGiven Kind = 100 // subject: the device
	KindCommandEnded Kind = 101
)

// KindInfo names a kind for people.
type KindInfo struct {
	Kind   Kind
	Name   string // stable machine name, used by the API
	Zh, En string // one sentence without the particulars
	fresh  func() any
}

func payload[T any]() any { return new(T) }

// registry says of each kind how it is called and which payload it has.
var registry = []KindInfo{
	{KindManifest, "manifest", "指纹已入册", "fingerprint logged", payload[ManifestPayload]},
	{KindEquivocation, "equivocation", "同一计数出现两份影像清单", "two manifests for one counter", payload[EquivocationPayload]},
	{KindManifestName, "other-name", "同一影像以另一文件名出现", "the same bytes arrived under another name", payload[ManifestNamePayload]},
	{KindAnomaly, "anomaly", "设备链异常", "anomaly in a device's own chain", payload[AnomalyPayload]},
	{KindSealed, "sealed", "封存入库", "sealed", payload[SealedPayload]},
	{KindVerified, "verified", "复核：重读字节，摘要一致", "bytes read again, digests agree", payload[VerifiedPayload]},
	{KindDamaged, "damaged", "复核：重读字节，摘要不一致", "bytes read again, digests differ", payload[VerifiedPayload]},
	{KindViewed, "viewed", "查看", "viewed", payload[CustodyPayload]},
	{KindDownloaded, "downloaded", "下载", "downloaded", payload[CustodyPayload]},
	{KindExported, "exported", "导出证据包", "exported in a bundle", payload[CustodyPayload]},
	{KindLinked, "linked", "关联案件", "linked to a case", payload[CustodyPayload]},
	{KindUnlinked, "unlinked", "解除案件关联", "unlinked from a case", payload[CustodyPayload]},
	{KindHoldSet, "hold-set", "设置保全", "legal hold set", payload[CustodyPayload]},
	{KindHoldActive, "hold-active", "保全已由存储确认", "legal hold confirmed by the store", payload[CustodyPayload]},
	{KindHoldLifted, "hold-lifted", "解除保全", "legal hold lifted", payload[CustodyPayload]},
	{KindRetention, "retention", "延长留存期限", "retention extended", payload[CustodyPayload]},
	{KindRestricted, "restricted", "标记误录，限制查看", "marked as mistaken recording, restricted", payload[CustodyPayload]},
	{KindUploading, "uploading", "开始上传影像", "upload started", payload[CustodyPayload]},
	{KindClipped, "clipped", "截取片段", "a clip was made of it", payload[ClippedPayload]},
	{KindShared, "shared", "共享", "shared", payload[CustodyPayload]},
	{KindDeleted, "deleted", "留存期满删除", "deleted at the end of retention", payload[DeletedPayload]},
	{KindGlimpsed, "glimpsed", "看到封面画面", "poster seen", payload[CustodyPayload]},
	{KindWiped, "wiped", "已从记录仪清除原件", "original removed from its recorder", payload[CustodyPayload]},
	{KindLabelled, "labelled", "标注执法活动", "labelled with its activity", payload[CustodyPayload]},
	{KindDeleting, "deleting", "留存期满，决定销毁", "retention over, to be deleted", payload[DeletedPayload]},
	{KindLateReason, "late-reason", "说明迟传理由", "reason for a late upload given", payload[CustodyPayload]},
	{KindCaseOpened, "case-opened", "立案", "case filed", payload[CasePayload]},
	{KindCaseStage, "case-stage", "办案环节推进", "case moved to another stage", payload[CasePayload]},
	{KindCaseDecided, "case-decided", "作出处罚决定，冻结证据", "decided, evidence frozen", payload[CasePayload]},
	{KindCaseExported, "case-exported", "导出案件证据包", "case bundle exported", payload[CasePayload]},
	{KindPosting, "posting", "记账", "ledger posting", payload[PostingPayload]},
	{KindAllotment, "allotment", "核定额度", "yearly allotment set", payload[AllotmentPayload]},
	{KindPostingRefused, "posting-refused", "拒绝记账", "ledger posting refused", payload[PostingPayload]},
	{KindKeyEnrolled, "key-enrolled", "设备密钥登记", "device key enrolled", payload[KeyPayload]},
	{KindKeyRevoked, "key-revoked", "设备密钥吊销", "device key revoked", payload[KeyPayload]},
	{KindPowerGrant, "power-granted", "权力事项下放", "power item handed down", payload[PowerPayload]},
	{KindPowerRecall, "power-recalled", "权力事项收回", "power item taken back", payload[PowerPayload]},
	{KindDeviceState, "device-state", "设备签名状态", "signed device state", payload[DeviceStatePayload]},
	{KindCertificate, "certificate", "执法证变更", "officer's certificate changed", payload[CertificatePayload]},
	{KindLogKey, "log-key", "证据册密钥更换", "log key changed", payload[LogKeyPayload]},
	{KindWitnesses, "witnesses", "见证方与门限变更", "witnesses or their quorum changed", payload[WitnessesPayload]},
	{KindTaken, "recorder-taken", "领用记录仪", "recorder taken", payload[RecorderPayload]},
	{KindReturned, "recorder-returned", "归还记录仪", "recorder returned", payload[RecorderPayload]},
	{KindStoreProbe, "store-probe", "存储探测", "store probed", payload[NotePayload]},
	{KindAudit, "audit", "全册核验", "log audited", payload[AuditPayload]},
	{KindTimestamp, "timestamp", "可信时间戳", "trusted timestamp", payload[TimestampPayload]},
	{KindCanary, "canary", "锁定试探", "lock tried on a canary", payload[CanaryPayload]},
	{KindReread, "reread", "影像重读核验", "stored footage read again", payload[RereadPayload]},
	{KindDrill, "drill", "自证演练", "self-proof drill", payload[DrillPayload]},
	{KindErased, "erased", "删除册页内容", "payloads of leaves erased", payload[ErasedPayload]},
	{KindCommandGiven, "command-given", "向设备下达指令", "command given to a device", payload[CommandPayload]},
	{KindCommandEnded, "command-ended", "设备指令办结", "command to a device ended", payload[CommandEndPayload]},
}

var kinds = func() map[Kind]KindInfo {
	m := make(map[Kind]KindInfo, len(registry))
	for _, i := range registry {
		m[i.Kind] = i
	}
	return m
}()

// InfoOf gives a kind's names; ok is false for a number this version doesn't know.
func InfoOf(k Kind) (KindInfo, bool) {
	i, ok := kinds[k]
	return i, ok
}

// Kinds lists the registry in order of numbers.
func Kinds() []KindInfo { return slices.Clone(registry) }

// Subject kinds: what a chain of leaves is about. With the id they make the opaque subject of a leaf.
const (
	SubjectKey      = "key"      // id: hex SHA-256 of the key's SubjectPublicKeyInfo
	SubjectEvidence = "evidence" // id: evidence id
	SubjectCase     = "case"     // id: case id
	SubjectLedger   = "ledger"   // id: township code
	SubjectTownship = "township" // id: township code
	SubjectPlatform = "platform" // id: "store", "audit", "timestamp", "log", "erasure" …: what of the platform it is about
	SubjectOfficer  = "officer"  // id: officer id
	SubjectRecorder = "recorder" // id: serial
	SubjectDevice   = "device"   // id: device id
)
