package signer

// PID is the running child's, for tests that kill it.
func PID(p *Process) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child.cmd.Process.Pid
}
