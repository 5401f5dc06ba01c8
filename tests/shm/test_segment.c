/* Creating, adopting, replacing and refusing the segment's file; full file systems. */
#include "shm/layout.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "tests/shm/own_path.h"
#include "tests/test.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct segment_geometry geometry = {
    .n_lanes = 2, .slots_per_lane = 8, .payload_bytes = 100, .result_bytes = 20};
static char error[ERROR_BYTES];

static void open_worker(struct segment *segment, const char *path)
{
    int result = segment_open_worker(segment, path, &geometry, "model", error);
    if (result < 0)
        fprintf(stderr, "%s\n", error);
    EXPECT_EQUAL(result, 0);
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT_EQUAL(write(descriptor, bytes, size), (ssize_t)size);
    close(descriptor);
}

static void a_fresh_segment_is_private_reserved_and_zero(void)
{
    struct segment worker, frontend;
    struct stat status;
    char path[64], model_id[128];
    own_path(path);
    mode_t mask = umask(0);
    open_worker(&worker, path);
    umask(mask);
    EXPECT_EQUAL(stat(path, &status), 0);
    EXPECT_EQUAL(status.st_mode & 07777, 0600);
    EXPECT_EQUAL(status.st_size, layout_total_bytes(&geometry));
    EXPECT(status.st_blocks * 512 >= status.st_size); /* no holes: no SIGBUS later */
    EXPECT_EQUAL(segment_open_frontend(&frontend, path, error), 0);
    EXPECT(memcmp(&frontend.geometry, &geometry, sizeof(geometry)) == 0);
    EXPECT_EQUAL(segment_worker_epoch(&frontend), 1);
    segment_model_id(&frontend, model_id);
    EXPECT_STRING(model_id, "model");
    EXPECT(segment_is_current(&frontend, path));
    segment_close(&frontend);
    segment_close(&worker);
}

static void a_successor_adopts_and_raises_the_epoch(void)
{
    struct segment worker, frontend;
    char path[64];
    own_path(path);
    open_worker(&worker, path);
    EXPECT_EQUAL(segment_open_frontend(&frontend, path, error), 0);
    atomic_store(&layout_lane(&frontend, 1)->submit_tail, 42);
    segment_close(&worker);
    open_worker(&worker, path);
    EXPECT_EQUAL(segment_worker_epoch(&frontend), 2);
    EXPECT_EQUAL(atomic_load(&layout_lane(&worker, 1)->submit_tail), 42);
    EXPECT(segment_is_current(&frontend, path));
    segment_close(&worker);
    segment_close(&frontend);
}

static void a_second_living_worker_is_refused(void)
{
    struct segment worker, second;
    char path[64];
    own_path(path);
    open_worker(&worker, path);
    EXPECT_EQUAL(segment_open_worker(&second, path, &geometry, "model", error), -EBUSY);
    EXPECT(strstr(error, "belongs to a worker that is alive"));
    segment_close(&second); /* may be closed although it was never open */
    EXPECT_EQUAL(segment_worker_epoch(&worker), 1);
    segment_close(&worker);
}

static void another_shape_is_replaced_and_the_attached_notice(void)
{
    static const char *const models[] = {"model", "other"};
    for (int change = 0; change < 2; change++) {
        struct segment worker, frontend;
        struct segment_geometry changed = geometry;
        char path[64];
        own_path(path);
        open_worker(&worker, path);
        EXPECT_EQUAL(segment_open_frontend(&frontend, path, error), 0);
        segment_close(&worker);
        changed.slots_per_lane *= change == 0 ? 2 : 1;
        EXPECT_EQUAL(segment_open_worker(&worker, path, &changed, models[change], error), 0);
        EXPECT(!segment_is_current(&frontend, path));
        EXPECT(segment_is_current(&worker, path));
        EXPECT_EQUAL(segment_worker_epoch(&worker), 1);
        EXPECT_EQUAL(segment_worker_epoch(&frontend), 1); /* its memory is still there */
        segment_close(&frontend);
        EXPECT_EQUAL(segment_open_frontend(&frontend, path, error), 0);
        EXPECT_EQUAL(frontend.geometry.slots_per_lane, changed.slots_per_lane);
        segment_close(&frontend);
        segment_close(&worker);
    }
}

static void damaged_files_are_replaced_by_a_worker_and_refused_to_a_frontend(void)
{
    static char garbage[1 << 17];
    static const size_t sizes[] = {0, 1, 8, 64, 4096, sizeof(garbage)};
    for (int fill = 0; fill < 256; fill += 255)
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            struct segment segment;
            char path[64];
            own_path(path);
            memset(garbage, fill, sizeof(garbage));
            write_file(path, garbage, sizes[i]);
            int result = segment_open_frontend(&segment, path, error);
            EXPECT(result == -ENOENT || result == -EPROTO);
            EXPECT(strstr(error, path));
            open_worker(&segment, path);
            EXPECT_EQUAL(segment_worker_epoch(&segment), 1);
            segment_close(&segment);
            unlink(path);
        }
}

static void an_absent_or_unfinished_segment_is_enoent_to_a_frontend(void)
{
    struct segment segment;
    char path[64];
    own_path(path);
    EXPECT_EQUAL(segment_open_frontend(&segment, path, error), -ENOENT);
    open_worker(&segment, path);
    atomic_store(&segment.header->identity.magic, 0); /* its creator is not done */
    struct segment frontend;
    EXPECT_EQUAL(segment_open_frontend(&frontend, path, error), -ENOENT);
    segment_close(&segment);
}

static void what_is_no_file_is_refused(void)
{
    struct segment segment;
    char path[64];
    own_path(path);
    EXPECT_EQUAL(mkdir(path, 0700), 0);
    EXPECT(segment_open_worker(&segment, path, &geometry, "model", error) < 0);
    EXPECT(segment_open_frontend(&segment, path, error) < 0);
    rmdir(path);
    EXPECT_EQUAL(mkfifo(path, 0600), 0); /* must not wait for a writer */
    EXPECT(segment_open_readonly(&segment, path, error) < 0);
    unlink(path);
    EXPECT_EQUAL(symlink("/dev/shm/elsewhere", path), 0);
    EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, "model", error), -ELOOP);
    unlink(path);
}

static void a_bad_geometry_is_refused_before_anything_is_made(void)
{
    struct segment segment;
    struct segment_geometry bad = geometry;
    char path[64], expected[ERROR_BYTES];
    own_path(path);
    bad.slots_per_lane = 3;
    EXPECT_EQUAL(segment_open_worker(&segment, path, &bad, "model", error), -EINVAL);
    snprintf(expected, sizeof(expected),
             "cannot make segment %s: the slots of a lane are not a power of two", path);
    EXPECT_STRING(error, expected);
    EXPECT(access(path, F_OK) < 0);
}

static void a_model_id_of_any_length_is_kept_as_far_as_it_fits(void)
{
    struct segment segment;
    char path[64], long_id[300], model_id[128];
    memset(long_id, 'm', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = 0;
    own_path(path);
    for (int i = 0; i < 2; i++) { /* made, then adopted */
        EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, long_id, error), 0);
        EXPECT_EQUAL(segment_worker_epoch(&segment), (uint32_t)i + 1);
        segment_model_id(&segment, model_id);
        EXPECT_EQUAL(strlen(model_id), 127);
        segment_close(&segment);
    }
}

static void a_readonly_map_serves_readers(void)
{
    static struct stats_view view;
    struct segment worker, reader;
    char path[64];
    own_path(path);
    open_worker(&worker, path);
    EXPECT_EQUAL(segment_open_readonly(&reader, path, error), 0);
    EXPECT_EQUAL(segment_worker_epoch(&reader), 1);
    stats_merge(&reader, &view);
    EXPECT_EQUAL(view.counters[STATS_WORKER_STARTS], 1);
    segment_close(&reader);
    segment_close(&worker);
}

static void a_closed_segment_may_be_closed_again(void)
{
    struct segment segment = {0};
    segment_close(&segment);
    segment_close(&segment);
}

/* ---- no room ---- */

static void expect_no_room(const char *path, int code)
{
    struct segment segment;
    EXPECT_EQUAL(segment_open_worker(&segment, path, &geometry, "model", error), code);
    EXPECT(strstr(error, "cannot reserve") && strstr(error, path));
    EXPECT(strstr(error, "--shm-size"));
    EXPECT(access(path, F_OK) < 0); /* nothing is left behind */
}

static void a_file_size_limit_is_an_error_with_a_sentence(void)
{
    char path[64];
    own_path(path);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {.rlim_cur = 8192, .rlim_max = 8192};
        EXPECT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
        expect_no_room(path, -EFBIG);
        _exit(0);
    }
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    EXPECT_EQUAL(status, 0);
}

static void map_to_itself(const char *path, unsigned id)
{
    char line[64];
    snprintf(line, sizeof(line), "%u %u 1", id, id);
    write_file(path, line, strlen(line));
}

/* A mount namespace of our own: root's, else one in a user namespace where we stay who we are. */
static bool leave_mounts(void)
{
    unsigned uid = getuid(), gid = getgid();
    if (unshare(CLONE_NEWNS) == 0)
        return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return false;
    map_to_itself("/proc/self/uid_map", uid);
    write_file("/proc/self/setgroups", "deny", strlen("deny"));
    map_to_itself("/proc/self/gid_map", gid);
    return true;
}

/* Exit 77: not allowed here. */
static void live_on_a_small_tmpfs(const char *folder)
{
    char path[128];
    if (!leave_mounts() || mount("tmpfs", folder, "tmpfs", 0, "size=64k") < 0)
        _exit(77);
    snprintf(path, sizeof(path), "%s/segment", folder);
    expect_no_room(path, -ENOSPC);
    _exit(0);
}

static void a_full_file_system_is_an_error_with_a_sentence(void)
{
    char folder[] = "/tmp/weir-test-segment-XXXXXX";
    EXPECT(mkdtemp(folder));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        live_on_a_small_tmpfs(folder);
    int status;
    EXPECT_EQUAL(waitpid(child, &status, 0), child);
    rmdir(folder);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        printf("skipped: mounting a small tmpfs needs privileges that this user lacks\n");
    else
        EXPECT_EQUAL(status, 0);
}

int main(void)
{
    RUN(a_fresh_segment_is_private_reserved_and_zero);
    RUN(a_successor_adopts_and_raises_the_epoch);
    RUN(a_second_living_worker_is_refused);
    RUN(another_shape_is_replaced_and_the_attached_notice);
    RUN(damaged_files_are_replaced_by_a_worker_and_refused_to_a_frontend);
    RUN(an_absent_or_unfinished_segment_is_enoent_to_a_frontend);
    RUN(what_is_no_file_is_refused);
    RUN(a_bad_geometry_is_refused_before_anything_is_made);
    RUN(a_model_id_of_any_length_is_kept_as_far_as_it_fits);
    RUN(a_readonly_map_serves_readers);
    RUN(a_closed_segment_may_be_closed_again);
    RUN(a_file_size_limit_is_an_error_with_a_sentence);
    RUN(a_full_file_system_is_an_error_with_a_sentence);
    return 0;
}
