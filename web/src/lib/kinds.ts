/** What a leaf records, by its number in the log's registry. */
const kinds: Record<number, string> = {
  1: "指纹已入册",
  2: "同一计数出现两份影像清单",
  3: "同一影像以另一文件名出现",
  10: "封存入库",
  11: "复核：重读字节，摘要一致",
  12: "复核：重读字节，摘要不一致",
  13: "查看",
  14: "下载",
  15: "导出证据包",
  16: "关联案件",
  17: "解除案件关联",
  18: "设置保全",
  19: "保全已由存储确认",
  20: "解除保全",
  21: "延长留存期限",
  22: "标记误录，限制查看",
  23: "开始上传影像",
  40: "立案",
  41: "办案环节推进",
  42: "作出处罚决定，冻结证据",
  43: "导出案件证据包",
  60: "记账",
  61: "核定额度",
  62: "拒绝记账",
  80: "设备密钥登记",
  81: "设备密钥吊销",
  82: "权力事项下放",
  83: "权力事项收回",
  84: "设备签名状态",
  90: "存储探测",
  91: "全册核验",
  92: "可信时间戳",
};

/** The word for a kind; a kind this version does not know keeps the server's word. */
export function kindName(kind: number, fallback: string): string {
  return kinds[kind] ?? fallback;
}
