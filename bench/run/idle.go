package run

func (r *runner) idle() []step { return nil }
