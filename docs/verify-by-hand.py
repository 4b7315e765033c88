#!/usr/bin/env python3
"""Checks an evidence bundle without any program of the platform: Python's own library, and openssl for the signatures.
不用本平台的任何程序核验证据包：只用 Python 自带的库，签名交给 openssl。

    python3 verify-by-hand.py VKEYFILE BUNDLE.zip

It ends with 0 if all holds and stops at the first thing that doesn't. What each step means: verify.zh-CN.md, verify.md.
"""
import base64
import datetime
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def must(holds, what):
    if not holds:
        sys.exit("✗ " + what)


def cbor(data):
    """Reads one CBOR item (RFC 8949), of the kinds that leaves use."""
    def item(i):
        major, n = data[i] >> 5, data[i] & 31
        i += 1
        if 24 <= n <= 27:
            width = 1 << (n - 24)
            n, i = int.from_bytes(data[i:i + width], "big"), i + width
        if major == 0:
            return n, i
        if major == 1:
            return -1 - n, i
        if major in (2, 3):
            b = data[i:i + n]
            return (b if major == 2 else b.decode()), i + n
        if major == 4:
            out = []
            for _ in range(n):
                x, i = item(i)
                out.append(x)
            return out, i
        if major == 5:
            out = {}
            for _ in range(n):
                k, i = item(i)
                out[k], i = item(i)
            return out, i
        must(major == 7 and n in (20, 21, 22), "CBOR of a kind that leaves don't use")
        return (False, True, None)[n - 20], i  # a station's first manifest has no hash before it
    value, end = item(0)
    must(end == len(data), "something follows the CBOR item")
    return value


@functools.cache  # many receipts have one checkpoint
def signed(spki, message, signature):
    """Asks openssl whether an Ed25519 signature is the key's."""
    with tempfile.TemporaryDirectory() as d:
        for name, b in (("key", spki), ("msg", message), ("sig", signature)):
            with open(os.path.join(d, name), "wb") as f:
                f.write(b)
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key", "-rawin", "-in", "msg", "-sigfile", "sig"],
                              cwd=d, capture_output=True).returncode == 0


# The trusted keys, one a line: name + first 4 bytes of SHA-256(name LF 0x01 key) + base64(0x01 key). The base64 may hold a plus sign.
# There are two of one name while one replaces the other; each signature of theirs must hold, and there must be one.
KEYS = {}
for line in open(sys.argv[1]).read().split():
    must(line.count("+") >= 2, "the key file holds something else than keys")
    name, keyhash, key = line.split("+", 2)
    key = base64.b64decode(key)
    must(len(key) == 33 and key[0] == 1 and sha(name.encode() + b"\n" + key)[:4].hex() == keyhash, "the key file holds something else than keys")
    must(name == KEYS.setdefault("name", name), "the keys are of two logs")
    KEYS[keyhash] = key[1:]
must(KEYS, "the key file holds no key")
NAME = KEYS.pop("name")
ED25519 = bytes.fromhex("302a300506032b6570032100")  # what comes before the 32 bytes of a key in DER
roots = {}


def receipt(where, text):
    """Proves the leaf of a receipt: signature, inclusion, commitment. Gives its index, leaf, hash and payload."""
    head, checkpoint = text.split("\n\n", 1)
    lines = head.split("\n")
    must(lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("extra ") and lines[2].startswith("index "), where + ": no receipt")
    disclosed = cbor(base64.b64decode(lines[1][6:]))
    index, path = int(lines[2][6:]), [base64.b64decode(x) for x in lines[3:]]
    body, signatures = checkpoint.split("\n\n", 1)
    body += "\n"
    origin, size, root = body.split("\n")[:3]
    size, root = int(size), base64.b64decode(root)
    must(origin == NAME, where + ": checkpoint of another log")
    good = False
    for line in signatures.strip().split("\n"):
        who, sig = line[2:].rsplit(" ", 1)
        sig = base64.b64decode(sig)
        key = KEYS.get(sig[:4].hex()) if who == NAME else None
        must(key is None or signed(ED25519 + key, body.encode(), sig[4:]), where + ": a signature of the log is not the key's")
        good |= key is not None
    must(good, where + ": the log has not signed this checkpoint")
    must(roots.setdefault(size, root) == root, where + ": the log signed two trees of one size")
    # RFC 9162, 2.1.3.2: from the leaf up to the root
    must(index < size, where + ": the leaf is outside the tree")
    leafhash = h = sha(b"\0", disclosed[1])
    fn, sn = index, size - 1
    for p in path:
        must(sn > 0, where + ": the path is too long")
        if fn & 1 or fn == sn:
            h = sha(b"\1", p, h)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            h = sha(b"\1", h, p)
        fn, sn = fn >> 1, sn >> 1
    must(sn == 0 and h == root, where + ": the leaf is not in the tree")
    leaf = cbor(disclosed[1])
    payload = None
    if 3 in disclosed:
        must(sha(disclosed[2], disclosed[3]) == leaf[7], where + ": the payload is not what the leaf commits to")
        payload = cbor(disclosed[3])
    return index, leaf, leafhash, payload


def when(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


z = zipfile.ZipFile(sys.argv[2])
raw = z.read("MANIFEST.json")
manifest = json.loads(raw)
must(manifest["format"] in ("zhizheng-bundle/v1", "zhizheng-bundle/v2"), "a bundle of a format that isn't known here")
names = ["MANIFEST.json"] + [m["name"] for m in manifest["members"]] + ["EXPORT.tlog-proof"]
tails = []  # how the items' chains end; bundles of version 1 don't have that
if manifest["format"] == "zhizheng-bundle/v2":
    tails = [n for n in z.namelist() if n.startswith("tails/")]
    names += tails
must(sorted(z.namelist()) == sorted(names), "the bundle's members are not those of MANIFEST.json")
digests = {}
for m in manifest["members"]:
    h = hashlib.sha256()
    with z.open(m["name"]) as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            h.update(piece)
    digests[m["name"]] = h.hexdigest()
    must(h.hexdigest() == m["sha256"] and z.getinfo(m["name"]).file_size == m["size"], m["name"] + " is not as MANIFEST.json says")
print(f"members      {len(digests)} as MANIFEST.json says")

leaves = {}
for name in names:
    if name.startswith("proofs/") or name == "EXPORT.tlog-proof" or name in tails:
        index, *rest = receipt(name, z.read(name).decode())
        must(index not in leaves and (name == "EXPORT.tlog-proof" or name[-23:] == f"{index:012}.tlog-proof"), name + ": another leaf's receipt")
        leaves[index] = rest
        if name == "EXPORT.tlog-proof":
            export = index
print(f"leaves       {len(leaves)} in the tree that {NAME} signed")

leaf, _, said = leaves[export]
must(leaf[2] == 43 and said[1] == manifest["case_id"] and said[8] == sha(raw), "the log doesn't have the export of this MANIFEST.json")
print(f"export       leaf {export}, {when(leaf[6])}")

chains, keys, last = {}, {}, {}
for index, (leaf, leafhash, said) in leaves.items():
    if leaf[2] == 80 and said:  # a station's key: a DER public key, its SHA-256 as its name
        must(sha(said[2]) == said[1] and leaf[3] == sha(b"zz-subject\0key\0" + said[1].hex().encode())[:16], f"leaf {index}: not this key's")
        keys[leaf[3]] = said[2]
    if leaf[2] not in (1, 80, 81, 92):  # of keys and timestamps a bundle holds those that concern it
        must(leaf[4] not in chains.setdefault(leaf[3], {}), f"leaf {index}: its chain has two of this number")
        chains[leaf[3]][leaf[4]] = (leaf, leafhash)
        last[leaf[3]] = max(last.get(leaf[3], (0, None, None)), (leaf[4], leaf[2], index))
for subject, chain in chains.items():
    prev = bytes(32)
    for n in range(1, len(chain) + 1):
        must(n in chain and chain[n][0][5] == prev, f"chain {subject.hex()}: leaf {n} is missing or follows another one")
        prev = chain[n][1]
print(f"chains       {len(chains)} whole")

exhibits = json.loads(z.read("evidence.json"))
subjects = {sha(b"zz-subject\0evidence\0" + r["id"].encode())[:16]: r for r in exhibits}
for name in tails:
    must(leaves[int(name[6:18])][0][3] in subjects, name + ": on no item's chain")
for r in exhibits:
    who = f"evidence {r['number']} ({r['id']})"
    if manifest["format"] == "zhizheng-bundle/v2":  # kind 15, with the digest of this very MANIFEST.json
        _, kind, index = last.get(sha(b"zz-subject\0evidence\0" + r["id"].encode())[:16], (0, None, None))
        must(kind == 15, who + ": its chain doesn't end with an export")
        said = leaves[index][2]
        must(said[1] == r["id"] and said[4] == manifest["case_id"] and said[7] == sha(raw), who + ": its chain ends with another export")
        print(f"custody      {last[leaves[index][0][3]][0]} leaves up to this export, {who}")
    leaf, _, said = leaves[r["manifest_leaf"]]
    must(leaf[2] == 1 and said[1] == r["id"], who + ": no manifest")
    body, sig = cbor(said[2])
    must(signed(keys[leaf[3]], b"zhizheng/manifest/v1\0" + body, sig), who + ": the station has not signed its manifest")
    m = cbor(body)
    must(m[10].hex() == r["sha256"] and m[8] == r["size"], who + ": the manifest names another file")
    print(f"fingerprint  {r['sha256']}  leaf {r['manifest_leaf']}, {when(leaf[6])}, {r['file_name']}")
    if r["status"] == "pending":
        continue
    leaf, _, said = leaves[r["seal_leaf"]]
    must(leaf[2] == 10 and said[1] == r["id"] and said[2].hex() == r["sha256"] and said[3] == r["size"], who + ": not what was sealed")
    must(leaf[3] == sha(b"zz-subject\0evidence\0" + r["id"].encode())[:16], who + ": the sealing is another item's")
    must(r["manifest_leaf"] < r["seal_leaf"], who + ": sealed before its fingerprint was logged")
    must(digests[r["member"]] == r["sha256"], who + ": the file in the bundle is another one")
    print(f"sealed       {r['sha256']}  leaf {r['seal_leaf']}, {when(leaf[6])}, {r['member']}")
if manifest["format"] == "zhizheng-bundle/v1":
    print("custody      version 1: whether the items' chains went on isn't shown 旧版证据包：保管链末页之后是否还有，未证")
print("all holds 全部成立")
