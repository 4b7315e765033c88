package signer

// PID is the running child's, for tests that kill it.
func PID(p *Process) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child.cmd.Process.Pid
}

// MainDying is Main that calls at before each step on disk.
func MainDying(args []string, at func(step string)) int { return mainWith(args, at) }
