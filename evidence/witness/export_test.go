package witness

// Persisted looks in after the state is on disk and before the signature is made.
func (w *Witness) Persisted(look func()) { w.persisted = look }
