package spool

// WithSegments makes segments of a log smaller than its bound would make them.
func (o Options) WithSegments(bytes int64) Options {
	o.segmentBytes = bytes
	return o
}
