/* Creating, adopting and mapping the segment's file.
 *
 * A fresh file is made under its final name: created exclusively, locked, its bytes reserved,
 * filled, and its magic stored last. A creator that dies on the way leaves a file without magic,
 * which the next worker replaces and which frontends take for "not yet". A file of another shape is
 * unlinked, never rewritten: processes still mapped to it keep their memory and notice by the
 * inode. */
#include "shm/segment.h"
#include "shm/layout.h"
#include "shm/step.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often a worker starts over because the file changed under its hands: two would do. */
#define OPEN_ATTEMPTS 8

#define SEGMENT_MODE 0600

__attribute__((format(printf, 3, 4))) static int fail(char error[ERROR_BYTES], int code,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, ERROR_BYTES, format, arguments);
    va_end(arguments);
    return code;
}

/* Maps the whole file. 0 or -errno. */
static int map(struct segment *segment, int descriptor, uint64_t bytes, int protection,
               const char *path, char error[ERROR_BYTES])
{
    void *memory = mmap(NULL, bytes, protection, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        return fail(error, -errno, "cannot map %llu bytes of segment %s: %s",
                    (unsigned long long)bytes, path, strerror(errno));
    segment->header = memory;
    segment->mapped_bytes = bytes;
    return 0;
}

/* Copies the identity out of the mapping, checks it, and fills the private geometry from the copy.
 */
static int check_identity(struct segment *segment, const char *path, char error[ERROR_BYTES])
{
    const struct segment_identity *shared = &segment->header->identity;
    /* Acquire: pairs with the release in fill(); the rest is read after it. */
    uint64_t magic = atomic_load_explicit(&shared->magic, memory_order_acquire);
    struct segment_identity copy;
    memcpy(&copy, shared, sizeof(copy));
    atomic_store_explicit(&copy.magic, magic, memory_order_relaxed);
    char sentence[ERROR_BYTES];
    int result = layout_check(&copy, segment->mapped_bytes, &segment->geometry, sentence);
    return result == 0 ? 0 : fail(error, result, "segment %.100s %.140s", path, sentence);
}

/* Maps and checks a file that somebody made. -ENOENT: not (yet) a segment; -EPROTO: not ours. */
static int map_existing(struct segment *segment, int descriptor, const struct stat *status,
                        int protection, const char *path, char error[ERROR_BYTES])
{
    uint64_t bytes = (uint64_t)status->st_size;
    if (!S_ISREG(status->st_mode))
        return fail(error, -EPROTO, "segment %s is not a regular file", path);
    if (bytes == 0)
        return fail(error, -ENOENT, "segment %s is empty: its creator has not finished", path);
    if (bytes < sizeof(struct segment_header))
        return fail(error, -EPROTO, "segment %s has %llu bytes, fewer than its header", path,
                    (unsigned long long)bytes);
    int result = map(segment, descriptor, bytes, protection, path, error);
    if (result == 0) {
        result = check_identity(segment, path, error);
        if (result < 0)
            segment_close(segment);
    }
    segment->device = status->st_dev;
    segment->inode = status->st_ino;
    return result;
}

static int open_existing(struct segment *segment, const char *path, int flags, int protection,
                         char error[ERROR_BYTES])
{
    *segment = (struct segment){0};
    int descriptor = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0)
        return fail(error, -errno, "cannot open segment %s: %s", path, strerror(errno));
    struct stat status;
    int result = fstat(descriptor, &status) < 0
                     ? fail(error, -errno, "cannot stat segment %s: %s", path, strerror(errno))
                     : map_existing(segment, descriptor, &status, protection, path, error);
    close(descriptor);
    return result;
}

int segment_open_frontend(struct segment *segment, const char *path, char error[ERROR_BYTES])
{
    return open_existing(segment, path, O_RDWR, PROT_READ | PROT_WRITE, error);
}

int segment_open_readonly(struct segment *segment, const char *path, char error[ERROR_BYTES])
{
    return open_existing(segment, path, O_RDONLY, PROT_READ, error);
}

void segment_close(struct segment *segment)
{
    if (segment->header)
        munmap(segment->header, segment->mapped_bytes);
    if (segment->locked)
        close(segment->lock_descriptor);
    *segment = (struct segment){0};
}

/* ---- the worker ---- */

/* Opens or creates the file and takes its lock. *fresh says that we made it: zero bytes long.
 * -EAGAIN: the file changed between our calls, start over. */
static int open_locked(const char *path, int *descriptor, bool *fresh, struct stat *status,
                       char error[ERROR_BYTES])
{
    int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
    *fresh = false;
    *descriptor = open(path, flags);
    if (*descriptor < 0 && errno == ENOENT) {
        *descriptor = open(path, flags | O_CREAT | O_EXCL, SEGMENT_MODE);
        *fresh = *descriptor >= 0;
        if (*descriptor < 0 && errno == EEXIST)
            return -EAGAIN;
    }
    if (*descriptor < 0)
        return fail(error, -errno, "cannot open or create segment %s: %s", path, strerror(errno));
    int result = 0;
    struct stat named;
    if (flock(*descriptor, LOCK_EX | LOCK_NB) < 0)
        result = errno == EWOULDBLOCK
                     ? fail(error, -EBUSY,
                            "segment %s belongs to a worker that is alive; stop it, or give this "
                            "server another --segment",
                            path)
                     : fail(error, -errno, "cannot lock segment %s: %s", path, strerror(errno));
    else if (fstat(*descriptor, status) < 0)
        result = fail(error, -errno, "cannot stat segment %s: %s", path, strerror(errno));
    else if (stat(path, &named) < 0 || named.st_ino != status->st_ino ||
             named.st_dev != status->st_dev)
        result = -EAGAIN; /* unlinked between open and flock */
    else if (status->st_uid != geteuid())
        result = fail(error, -EPERM,
                      "segment %s belongs to user %u and we are user %u; remove it or choose "
                      "another --segment",
                      path, (unsigned)status->st_uid, (unsigned)geteuid());
    if (result < 0)
        close(*descriptor);
    return result;
}

static int reserve(int descriptor, uint64_t bytes, const char *path, char error[ERROR_BYTES])
{
    int code;
    do
        code = posix_fallocate(descriptor, 0, (off_t)bytes);
    while (code == EINTR);
    if (code == 0)
        return 0;
    return fail(error, -code,
                "cannot reserve %llu bytes for segment %s: %s; enlarge its file system (docker run "
                "--shm-size) or lower --max-concurrent-requests or --frontends",
                (unsigned long long)bytes, path, strerror(code));
}

static uint64_t unix_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void fill(struct segment *segment, const char *model_id)
{
    const struct segment_geometry *geometry = &segment->geometry;
    struct segment_identity *identity = &segment->header->identity;
    identity->layout_version = LAYOUT_VERSION;
    identity->header_bytes = sizeof(struct segment_header);
    identity->layout_hash = layout_hash();
    identity->total_bytes = layout_total_bytes(geometry);
    identity->created_ns = clock_now_ns();
    identity->created_unix_ns = unix_now_ns();
    identity->n_lanes = geometry->n_lanes;
    identity->slots_per_lane = geometry->slots_per_lane;
    identity->payload_bytes = geometry->payload_bytes;
    identity->result_bytes = geometry->result_bytes;
    snprintf(identity->model_id, sizeof(identity->model_id), "%s", model_id);
    /* All else starts as the zeroes of a new file: slots FREE, rings empty, entries EMPTY. */
    SHM_STEP();
    /* Release: pairs with the acquire in check_identity(); magic last makes the file a segment. */
    atomic_store_explicit(&identity->magic, LAYOUT_MAGIC, memory_order_release);
}

/* Makes a segment of the empty file behind `descriptor`. On failure the name is gone again. */
static int create(struct segment *segment, int descriptor, const char *path,
                  const struct segment_geometry *geometry, const char *model_id,
                  char error[ERROR_BYTES])
{
    uint64_t bytes = layout_total_bytes(geometry);
    int result = reserve(descriptor, bytes, path, error);
    if (result == 0)
        result = map(segment, descriptor, bytes, PROT_READ | PROT_WRITE, path, error);
    if (result < 0) {
        unlink(path);
        return result;
    }
    /* Page faults now instead of under load; older kernels say EINVAL and fault later. */
    madvise(segment->header, bytes, MADV_POPULATE_WRITE);
    segment->geometry = *geometry;
    fill(segment, model_id);
    return 0;
}

/* Maps what the dead worker left, if it is what we would make. -EPROTO: it is not. */
static int adopt(struct segment *segment, int descriptor, const struct stat *status,
                 const char *path, const struct segment_geometry *geometry, const char *model_id,
                 char error[ERROR_BYTES])
{
    int result = map_existing(segment, descriptor, status, PROT_READ | PROT_WRITE, path, error);
    if (result < 0)
        return result == -ENOENT ? -EPROTO : result;
    char found_model_id[128];
    segment_model_id(segment, found_model_id);
    if (memcmp(&segment->geometry, geometry, sizeof(*geometry)) == 0 &&
        strncmp(found_model_id, model_id, sizeof(found_model_id) - 1) == 0)
        return 0;
    segment_close(segment);
    return -EPROTO;
}

static int open_worker_once(struct segment *segment, const char *path,
                            const struct segment_geometry *geometry, const char *model_id,
                            char error[ERROR_BYTES])
{
    int descriptor;
    bool fresh;
    struct stat status;
    int result = open_locked(path, &descriptor, &fresh, &status, error);
    if (result < 0)
        return result;
    if (fresh)
        result = create(segment, descriptor, path, geometry, model_id, error);
    else
        result = adopt(segment, descriptor, &status, path, geometry, model_id, error);
    if (result < 0) {
        if (result == -EPROTO) { /* another shape: out of the way, and once more */
            unlink(path);
            result = -EAGAIN;
        }
        close(descriptor);
        return result;
    }
    segment->device = status.st_dev;
    segment->inode = status.st_ino;
    segment->locked = true;
    segment->lock_descriptor = descriptor;
    return 0;
}

int segment_open_worker(struct segment *segment, const char *path,
                        const struct segment_geometry *geometry, const char *model_id,
                        char error[ERROR_BYTES])
{
    *segment = (struct segment){0};
    const char *fault = layout_geometry_fault(geometry);
    if (fault)
        return fail(error, -EINVAL, "cannot make segment %s: %s", path, fault);
    int result = -EAGAIN;
    for (int attempt = 0; result == -EAGAIN && attempt < OPEN_ATTEMPTS; attempt++)
        result = open_worker_once(segment, path, geometry, model_id, error);
    if (result == -EAGAIN)
        return fail(error, -EBUSY, "segment %s is created and removed all the time by others",
                    path);
    if (result < 0)
        return result;
    struct segment_header *header = segment->header;
    uint32_t epoch = atomic_load_explicit(&header->worker_epoch, memory_order_relaxed);
    SHM_STEP();
    /* Release: pairs with the acquire in segment_worker_epoch(). We are the only writer. */
    atomic_store_explicit(&header->worker_epoch, epoch + 1, memory_order_release);
    stats_add(&header->worker_stats, STATS_WORKER_STARTS, 1);
    return 0;
}

/* ---- everybody ---- */

bool segment_is_current(const struct segment *segment, const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && status.st_dev == segment->device &&
           status.st_ino == segment->inode;
}

uint32_t segment_worker_epoch(const struct segment *segment)
{
    return atomic_load_explicit(&segment->header->worker_epoch, memory_order_acquire);
}

void segment_model_id(const struct segment *segment, char model_id[128])
{
    memcpy(model_id, segment->header->identity.model_id, 128);
    model_id[127] = 0;
}
