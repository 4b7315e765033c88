package blob

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"zhizheng/internal/fault"
)

// code is the store's own name of an error, "" for none or one that is not the store's.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// mapErr turns the store's errors into faults, once. The texts name no key and no address.
func mapErr(act string, err error) error {
	if err == nil {
		return nil
	}
	cause := fmt.Errorf("%s: %w", act, err)
	status := 0
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) {
		status = re.HTTPStatusCode()
	}
	switch code(err) {
	case "NoSuchUpload", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound":
		return fault.NotFound("存储中没有这个对象或上传").Because(cause)
	case "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded":
		return full(cause)
	case "PreconditionFailed", "ConditionalRequestConflict", "InvalidPart", "InvalidPartOrder", "BadDigest", "EntityTooSmall",
		"XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return fault.Conflict("存储中的内容与登记的不一致").Because(cause)
	case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted":
		return away(cause)
	}
	switch {
	case status == http.StatusNotFound:
		return fault.NotFound("存储中没有这个对象或上传").Because(cause)
	case status == http.StatusInsufficientStorage:
		return full(cause)
	case status == http.StatusPreconditionFailed:
		return fault.Conflict("存储中的内容与登记的不一致").Because(cause)
	case status == http.StatusForbidden:
		return fault.Forbidden("存储拒绝了这个操作（对象已锁定或凭据无权）").Because(cause)
	case status == http.StatusRequestedRangeNotSatisfiable:
		return fault.Invalid("请求的字节范围超出文件长度").Because(cause)
	case status >= 500:
		return away(cause)
	}
	if errors.Is(err, context.Canceled) {
		return cause // the caller left; nobody reads it
	}
	var ne net.Error
	var ue *url.Error
	var se *smithyhttp.RequestSendError
	if errors.As(err, &ne) || errors.As(err, &ue) || errors.As(err, &se) || errors.Is(err, context.DeadlineExceeded) {
		return away(cause)
	}
	return cause
}

func away(cause error) error {
	return fault.Unavailable(5*time.Second, "影像存储暂时不可用，请稍后重试").Because(cause)
}

func full(cause error) error {
	return fault.StorageFull("影像存储空间不足，未写入任何内容").Because(cause)
}
