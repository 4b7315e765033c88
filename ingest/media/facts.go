// Package media owns facts about files nobody vouches for: container, codecs, duration, times, position, whether they play, and
// a poster. It promises a verdict for any bytes in bounded memory and time: the top-level boxes are scanned here, everything
// inside them is read by a limited child process (the same binary as "probe-media"), and ffmpeg runs limited too. It never
// refuses, repairs or renames a file, and nothing it says touches what is sealed.
//
// Read probe.go for the way of a file, scan.go for the bounded scan, inspect.go for what the child does, worker.go for the job.
package media

import "time"

// Verdicts. An unreadable file is evidence like any other; the verdict is a label.
const (
	OK        = "ok"
	Truncated = "truncated" // cut short: bytes that its own index names are missing
	Damaged   = "damaged"
	Encrypted = "encrypted"
	NotMedia  = "not-media"
	Empty     = "empty"
	Sidecar   = "sidecar" // a text file beside footage: positions, logs
	Unknown   = "unknown" // media of a kind that isn't looked into
)

// Facts is what is known of a file. Reasons are sentences in Chinese for people.
type Facts struct {
	Verdict      string     `json:"verdict"`
	Reasons      []string   `json:"reasons,omitempty"`
	Playable     bool       `json:"playable"` // by the usual browsers, without conversion
	Container    string     `json:"container,omitempty"`
	VideoCodec   string     `json:"video_codec,omitempty"`
	AudioCodec   string     `json:"audio_codec,omitempty"`
	Width        int        `json:"width,omitempty"`
	Height       int        `json:"height,omitempty"`
	FrameRate    float64    `json:"frame_rate,omitempty"`
	DurationMs   int64      `json:"duration_ms,omitempty"`
	CreatedAt    *time.Time `json:"created_at,omitempty"`    // by the container, as the recorder's clock had it
	NameTime     *time.Time `json:"name_time,omitempty"`     // by the file name's rule; recorded apart from CreatedAt
	NameRecorder string     `json:"name_recorder,omitempty"` // serial and officer's number as the file name claims them
	NameOfficer  string     `json:"name_officer,omitempty"`
	NameSequence *uint64    `json:"name_sequence,omitempty"`
	Position     *Position  `json:"position,omitempty"`
	Device       string     `json:"device,omitempty"` // maker and model as the file claims
	Keyframes    int        `json:"keyframes,omitempty"`
	Rotation     int        `json:"rotation,omitempty"`     // degrees clockwise that players turn the picture; width and height are before it
	Videos       int        `json:"video_tracks,omitempty"` // when there are several; the facts are of the first with content
	Variable     bool       `json:"variable_frame_rate,omitempty"`
	GPSTime      *time.Time `json:"gps_time,omitempty"` // of the first fix that has one; recorded apart from the other two
	Fixes        int        `json:"fixes,omitempty"`    // plausible positions found
	// ExpectedBytes is how long the file would have to be by its own index, ActualBytes how long it is; set when they differ.
	ExpectedBytes int64 `json:"expected_bytes,omitempty"`
	ActualBytes   int64 `json:"actual_bytes,omitempty"`

	Track  *Track  `json:"-"` // kept apart: it is long
	Frames *Frames `json:"-"`

	layout  Layout // where ffmpeg finds what a poster needs
	demuxer string // ffmpeg's name for the container, "" when there is no picture
}

// Position is where the recorder claims to have been.
type Position struct {
	Lat    float64 `json:"lat"`
	Lon    float64 `json:"lon"`
	Source string  `json:"source"` // ©xyz, loci, iso6709, or a Track's
}

func (f *Facts) because(reason string) { f.Reasons = append(f.Reasons, reason) }
