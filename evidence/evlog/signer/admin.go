package signer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// administer is `zhizheng signer show|rotate|retire|remember --dir DIR`: through the signer that runs on DIR, or in its place if none does.
func administer(verb string, args []string, at func(step string)) int {
	f := flag.NewFlagSet("signer "+verb, flag.ContinueOnError)
	dir := f.String("dir", "", "签名密钥所在目录")
	reason := f.String("reason", "", "更换或停用的原因，记入日志")
	actor := f.String("actor", "system", "经办人的账号编号，记入日志")
	file := f.String("checkpoint", "", "remember：已签名的存证点文件")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if verb == "remember" && *dir != "" && *file != "" && f.NArg() == 0 {
		st, err := remember(*dir, *file, at)
		if err != nil {
			fmt.Fprintln(os.Stderr, "signer:", err)
			return 1
		}
		describe(os.Stdout, st)
		return 0
	}
	var q question
	c := Change{Actor: *actor, Reason: *reason}.now()
	switch verb {
	case "show":
	case "rotate":
		q.Rotate = &c
	case "retire":
		q.Retire = &c
	case "remember":
		fmt.Fprintln(os.Stderr, "用法：zhizheng signer remember --dir 目录 --checkpoint 文件")
		return 2
	default:
		fmt.Fprintf(os.Stderr, "signer: 没有 %s 这个子命令，只有 show、rotate、retire、remember\n", verb)
		return 2
	}
	if *dir == "" || f.NArg() > 0 || verb != "show" && *reason == "" {
		fmt.Fprintf(os.Stderr, "用法：zhizheng signer %s --dir 目录%s\n", verb, map[bool]string{true: " --reason 原因"}[verb != "show"])
		return 2
	}
	st, err := change(*dir, q, at)
	if err != nil {
		fmt.Fprintln(os.Stderr, "signer:", err)
		return 1
	}
	describe(os.Stdout, st)
	return 0
}

// change puts the question to the running signer; without one it opens the directory itself. The lock decides which it is: a signer that
// starts in between makes us wait and then fail, not sign beside it.
func change(dir string, q question, at func(string)) (State, error) {
	a, err := atAdmin(dir, q)
	if err == nil {
		if err := a.fault(); err != nil {
			return State{}, err
		}
		if a.State == nil {
			return State{}, fmt.Errorf("signer gave no state")
		}
		return *a.State, nil
	}
	if !nobodyThere(err) {
		return State{}, err
	}
	if q.Rotate == nil && q.Retire == nil {
		return Observe(dir).State(context.Background())
	}
	if _, err := readKeys(dir); err != nil { // a mistyped directory must not become a new log
		return State{}, err
	}
	f, err := lock(context.Background(), filepath.Join(dir, lockFile), time.Second)
	if err != nil {
		return State{}, err
	}
	s := &Signer{dir: dir, flock: f, at: at}
	defer s.Close()
	if err := s.load(Options{}); err != nil {
		return State{}, err
	}
	a = s.answer(q, true)
	if err := a.fault(); err != nil {
		return State{}, err
	}
	return *a.State, nil
}

func describe(w io.Writer, st State) {
	fmt.Fprintf(w, "已签发到 %d 条\n", st.Size)
	for _, k := range st.Keys {
		switch {
		case k.Retired != nil:
			fmt.Fprintf(w, "停用  %s  （%s）\n", k.VKey, k.Retired.Reason)
		case len(st.Active()) > 1 && st.Size <= k.From && k.From > 0 && k.VKey == st.VKey:
			fmt.Fprintf(w, "在用  %s  （新增，尚未签过）\n", k.VKey)
		default:
			fmt.Fprintf(w, "在用  %s\n", k.VKey)
		}
	}
}

// remember gives a signer its memory back: the newest checkpoint that it signed itself and that others kept. Memory only goes forward, so
// it can't be made to forget. It is for a directory that nobody serves.
func remember(dir, file string, at func(string)) (State, error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return State{}, err
	}
	f, err := lock(context.Background(), filepath.Join(dir, lockFile), time.Second)
	if err != nil {
		return State{}, err
	}
	s := &Signer{dir: dir, flock: f, at: at}
	defer s.Close()
	if s.keys, err = readKeys(dir); err != nil {
		return State{}, err
	}
	var vs []note.Verifier
	for _, k := range s.keys {
		v, err := note.NewVerifier(k.VKey)
		if err != nil {
			return State{}, err
		}
		vs = append(vs, v)
	}
	keys, err := chain.NewKeys(vs...)
	if err != nil {
		return State{}, err
	}
	// Lines of witnesses may be there; what counts is that one of our own keys signed.
	n, err := note.Open(signed, note.VerifierList(keys.Trusted()...))
	if err != nil {
		return State{}, fmt.Errorf("这个存证点不是由该目录的密钥签发的：%w", err)
	}
	c, err := chain.ParseCheckpoint(n.Text)
	if err != nil || c.Origin != keys.Name() {
		return State{}, fmt.Errorf("这个存证点不是该日志的：%w", err)
	}
	err = s.read()
	switch {
	case errors.Is(err, fs.ErrNotExist): // the memory is lost
	case err != nil:
		return State{}, fmt.Errorf("log.signed 已损坏，请先把它移走：%w", err)
	case s.last.Size > c.Size || s.last.Size == c.Size && s.last.Root != c.Root:
		return State{}, &Refusal{fmt.Sprintf("已记得签发到 %d 条，不能退回到 %d 条", s.last.Size, c.Size)}
	}
	if err := s.writeFile(stateFile, []byte(c.Text())); err != nil {
		return State{}, err
	}
	return Observe(dir).State(context.Background())
}
