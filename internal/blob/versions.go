package blob

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Version is one stored version of a key.
type Version struct {
	Key     string
	Version string // "" when the bucket keeps no versions
}

// Versions lists stored versions of the keys that begin with prefix and lie behind the key after, in order of keys, the newest version of
// a key first, at most a thousand; more says that others may follow. Locked versions that a delete marker hides are among them: a marker is what anyone who may write can
// put over them.
func (s *Store) Versions(ctx context.Context, prefix, after string, most int32) (vs []Version, more bool, err error) {
	in := &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: &prefix, KeyMarker: optional(after), MaxKeys: aws.Int32(min(most+1, 1000))}
	for {
		out, err := s.client.ListObjectVersions(ctx, in)
		if err != nil {
			return nil, false, mapErr("list versions", err)
		}
		for _, v := range out.Versions {
			x := Version{Key: aws.ToString(v.Key), Version: aws.ToString(v.VersionId)}
			if x.Version == "null" {
				x.Version = ""
			}
			if x.Key > after { // some stores begin with the marker itself
				vs = append(vs, x)
			}
		}
		// A page may hold nothing but delete markers.
		more = aws.ToBool(out.IsTruncated)
		if len(vs) > int(most) {
			vs, more = vs[:most], true
		}
		if len(vs) > 0 || !more {
			return vs, more, nil
		}
		if aws.ToString(in.KeyMarker) == aws.ToString(out.NextKeyMarker) && aws.ToString(in.VersionIdMarker) == aws.ToString(out.NextVersionIdMarker) {
			return nil, false, fmt.Errorf("list versions: the store answers the same page again")
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}
