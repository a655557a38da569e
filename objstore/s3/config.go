package s3

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Config says which bucket to use, and how.
type Config struct {
	// Endpoint is the URL of the service, http or https, without a path:
	// "http://127.0.0.1:9000". "" is Amazon's, of the region.
	Endpoint string
	// Bucket holds the objects, below Prefix. The prefix lets several clusters
	// share a bucket; slashes at its ends do not matter.
	Bucket string
	Prefix string
	// Region is "us-east-1" by default. It is never asked of the service.
	Region string
	// AccessKey and SecretKey are the credentials, with SessionToken where they
	// are temporary. If both are empty, those of the machine's role are used,
	// which only Amazon's service has.
	AccessKey    string
	SecretKey    string
	SessionToken string
	// CreateBucket makes Open create the bucket if there is none.
	CreateBucket bool

	// ResponseTimeout bounds the wait for the first byte of a response after
	// the request was sent: 10 s by default. A put waits for the store to make
	// the object durable. Deadlines of contexts apply besides.
	ResponseTimeout time.Duration
	// PartSize is the size from which an upload is done in parts of this size,
	// 5 MiB or more: 64 MiB by default. Whatever is smaller is one request.
	PartSize int64
	// PartsInFlight is how many parts of an upload are sent at a time, each
	// straight from its source: 4 by default.
	PartsInFlight int
}

// ensureDefaults fills in what was left zero.
func (c *Config) ensureDefaults() {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Endpoint == "" {
		c.Endpoint = "https://s3." + c.Region + ".amazonaws.com"
	}
	if c.ResponseTimeout == 0 {
		c.ResponseTimeout = 10 * time.Second
	}
	if c.PartSize == 0 {
		c.PartSize = 64 << 20
	}
	if c.PartsInFlight == 0 {
		c.PartsInFlight = 4
	}
	c.Prefix = strings.Trim(c.Prefix, "/")
	if c.Prefix != "" {
		c.Prefix += "/"
	}
}

// validate checks a Config that has its defaults.
func (c *Config) validate() error {
	if c.Bucket == "" {
		return fmt.Errorf("%w: no bucket is given", base.ErrInvalid)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return fmt.Errorf("%w: endpoint %q: want http://host:port or https://host:port", base.ErrInvalid, c.Endpoint)
	}
	if err := objstore.CheckPrefix(c.Prefix); err != nil {
		return fmt.Errorf("prefix in the bucket: %w", err)
	}
	if c.PartSize < 5<<20 {
		return fmt.Errorf("%w: part size %d: want 5 MiB or more", base.ErrInvalid, c.PartSize)
	}
	if c.PartsInFlight < 1 || c.ResponseTimeout < 0 {
		return fmt.Errorf("%w: parts in flight and the response timeout must be positive", base.ErrInvalid)
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return fmt.Errorf("%w: an access key needs a secret key, and the other way round", base.ErrInvalid)
	}
	if c.AccessKey == "" && !strings.HasSuffix(u.Hostname(), ".amazonaws.com") {
		return fmt.Errorf("%w: no credentials for %s", base.ErrInvalid, c.Endpoint)
	}
	return nil
}
