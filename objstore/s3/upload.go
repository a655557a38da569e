package s3

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/tabletdb/tabletdb/internal/base"
)

// abortTimeout bounds the clean-up of an upload in parts that failed.
const abortTimeout = 10 * time.Second

// maxParts is the protocol's limit.
const maxParts = 10000

// Upload implements objstore.Streamer: one conditional put of up to PartSize
// bytes, else parts with the condition on the request that completes them.
// Amazon's store and MinIO honour it there; of others it is not known, so names
// of large objects should be unique in themselves, as those of SSTables are.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	err := ready(ctx, key)
	switch {
	case err != nil:
	case size < 0:
		err = fmt.Errorf("%w: size %d", base.ErrInvalid, size)
	case size <= s.cfg.PartSize:
		err = s.uploadWhole(ctx, key, r, size)
	default:
		err = s.uploadParts(ctx, key, r, size)
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", key, err)
	}
	return nil
}

func (s *Store) uploadWhole(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	src := io.NewSectionReader(r, 0, size)
	crc, err := checksum(src)
	if err == nil {
		_, err = s.client.PutObject(ctx, s.cfg.Bucket, s.cfg.Prefix+key, src, size, putOptions(true, crc))
	}
	return s.explain(ctx, err)
}

func (s *Store) uploadParts(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	name := s.cfg.Prefix + key
	id, err := s.core.NewMultipartUpload(ctx, s.cfg.Bucket, name, minio.PutObjectOptions{
		ContentType:  "application/octet-stream",
		UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "CRC32C"},
	})
	if err != nil {
		return s.explain(ctx, err)
	}
	parts, err := s.sendParts(ctx, name, id, r, size)
	if err == nil {
		var opts minio.PutObjectOptions
		opts.SetMatchETagExcept("*")
		_, err = s.core.CompleteMultipartUpload(ctx, s.cfg.Bucket, name, id, parts, opts)
	}
	if err != nil {
		// Parts cost money until they are gone; the caller may have given up.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		_ = s.core.AbortMultipartUpload(clean, s.cfg.Bucket, name, id)
		return s.explain(ctx, err)
	}
	return nil
}

// sendParts uploads the parts, some at a time, and returns what the completing
// request must name.
func (s *Store) sendParts(ctx context.Context, name, id string, r io.ReaderAt, size int64) ([]minio.CompletePart, error) {
	partSize := max(s.cfg.PartSize, (size+maxParts-1)/maxParts)
	parts := make([]minio.CompletePart, (size+partSize-1)/partSize)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.PartsInFlight)
	for i := range parts {
		off := int64(i) * partSize
		g.Go(func() (err error) {
			parts[i], err = s.sendPart(ctx, name, id, i+1, io.NewSectionReader(r, off, min(partSize, size-off)))
			return err
		})
	}
	return parts, g.Wait()
}

// sendPart uploads one part.
func (s *Store) sendPart(ctx context.Context, name, id string, number int, part *io.SectionReader) (minio.CompletePart, error) {
	crc, err := checksum(part)
	if err != nil {
		return minio.CompletePart{}, fmt.Errorf("part %d: %w", number, err)
	}
	done, err := s.core.PutObjectPart(ctx, s.cfg.Bucket, name, id, number, part, part.Size(), minio.PutObjectPartOptions{
		DisableContentSha256: true,
		CustomHeader:         http.Header{"X-Amz-Checksum-Algorithm": {"CRC32C"}, checksumHeader: {formatCRC(crc)}},
	})
	if err != nil {
		return minio.CompletePart{}, err
	}
	return minio.CompletePart{PartNumber: number, ETag: done.ETag, ChecksumCRC32C: done.ChecksumCRC32C}, nil
}

// checksum returns the CRC32C of all of src and goes back to its start. Reading
// a source twice is cheaper than holding it in memory.
func checksum(src *io.SectionReader) (uint32, error) {
	sum := crc32.New(castagnoli())
	n, err := io.Copy(sum, src)
	if err == nil && n < src.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("source has %d of %d bytes: %w", n, src.Size(), err)
	}
	_, err = src.Seek(0, io.SeekStart)
	return sum.Sum32(), err
}
