/* shm/file.c: after a success the new bytes are there, after a failure the old ones, and never a
 * file beside them. What is read is a regular file, whole. */
#include "shm/file.h"
#include "tests/test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "weir-file-XXXXXX", path[64];

static void expect_file(const char *text, mode_t mode)
{
    char bytes[64] = "";
    struct stat facts;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT(descriptor >= 0 && read(descriptor, bytes, sizeof bytes - 1) >= 0);
    EXPECT_STRING(bytes, text);
    EXPECT_EQUAL(fstat(descriptor, &facts), 0);
    EXPECT_EQUAL(facts.st_mode & 07777, mode);
    close(descriptor);
}

static int files_in_folder(void)
{
    DIR *listing = opendir(folder);
    int n_files = 0;
    EXPECT(listing != NULL);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;)
        n_files += entry->d_name[0] != '.';
    closedir(listing);
    return n_files;
}

static void a_file_is_made_with_its_mode_whatever_the_umask(void)
{
    const mode_t before = umask(077);
    EXPECT_EQUAL(file_replace(path, "one", 3, 0644), 0);
    umask(before);
    expect_file("one", 0644);
    EXPECT_EQUAL(files_in_folder(), 1);
}

static void a_file_is_replaced_with_its_mode(void)
{
    EXPECT_EQUAL(file_replace(path, "longer than the next", 20, 0644), 0);
    EXPECT_EQUAL(file_replace(path, "two", 3, 0600), 0);
    expect_file("two", 0600);
    EXPECT_EQUAL(file_replace(path, "", 0, 0600), 0);
    expect_file("", 0600);
    EXPECT_EQUAL(files_in_folder(), 1);
}

static void a_reader_of_the_old_file_keeps_it(void)
{
    char bytes[8] = "";
    EXPECT_EQUAL(file_replace(path, "old", 3, 0600), 0);
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT_EQUAL(file_replace(path, "new", 3, 0600), 0);
    EXPECT_EQUAL(read(descriptor, bytes, sizeof bytes), 3);
    EXPECT_STRING(bytes, "old");
    close(descriptor);
    expect_file("new", 0600);
}

/* A full disk, as a limit on the size of files. */
static void what_cannot_be_written_whole_leaves_the_old_file(void)
{
    struct rlimit before;
    EXPECT_EQUAL(file_replace(path, "old", 3, 0644), 0);
    EXPECT_EQUAL(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes_max = 0; bytes_max <= 5; bytes_max++) {
        const struct rlimit limit = {bytes_max, before.rlim_max};
        EXPECT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
        EXPECT_EQUAL(file_replace(path, "5 new", 5, 0600), bytes_max < 5 ? -EFBIG : 0);
        EXPECT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
        expect_file(bytes_max < 5 ? "old" : "5 new", bytes_max < 5 ? 0644 : 0600);
        EXPECT_EQUAL(files_in_folder(), 1);
    }
}

static void what_cannot_be_renamed_leaves_nothing_beside_it(void)
{
    char subfolder[80]; /* which no file can take the place of */
    snprintf(subfolder, sizeof subfolder, "%s/sub", folder);
    EXPECT_EQUAL(mkdir(subfolder, 0700), 0);
    EXPECT_EQUAL(file_replace(subfolder, "x", 1, 0600), -EISDIR);
    EXPECT_EQUAL(rmdir(subfolder), 0);
    EXPECT_EQUAL(files_in_folder(), 1);
    EXPECT_EQUAL(file_replace("/nowhere/file", "x", 1, 0600), -ENOENT);
}

/* With the name that is added: at the limit it is the kernel that says so. */
static void a_path_that_is_too_long_is_refused(void)
{
    static char long_path[FILE_PATH_BYTES_MAX];
    const size_t added = sizeof ".XXXXXX" - 1;
    memset(long_path, '/', sizeof long_path);
    long_path[0] = 'x'; /* a file's name before slashes: no folder */
    long_path[sizeof long_path - 1 - added] = 0;
    EXPECT_EQUAL(file_replace(long_path, "x", 1, 0600), -ENOENT);
    long_path[sizeof long_path - 1 - added] = '/';
    long_path[sizeof long_path - added] = 0;
    EXPECT_EQUAL(file_replace(long_path, "x", 1, 0600), -ENAMETOOLONG);
}

static void a_regular_file_is_opened_with_its_size_and_read(void)
{
    char bytes[8] = "";
    uint64_t size_bytes = 0;
    EXPECT_EQUAL(file_replace(path, "seven b", 7, 0600), 0);
    const int descriptor = file_open(path, &size_bytes);
    EXPECT(descriptor >= 0);
    EXPECT_EQUAL(size_bytes, 7);
    EXPECT_EQUAL(file_read(descriptor, bytes, 3), 3);
    EXPECT_STRING(bytes, "sev");
    EXPECT_EQUAL(file_read(descriptor, bytes, sizeof bytes), 4); /* to the file's end */
    EXPECT_EQUAL(file_read(descriptor, bytes, sizeof bytes), 0);
    EXPECT_EQUAL(close(descriptor), 0);
    EXPECT_EQUAL(file_read(descriptor, bytes, sizeof bytes), -EBADF);
}

static void what_is_no_regular_file_is_refused_at_once(void)
{
    char pipe_path[80];
    uint64_t size_bytes = 1;
    snprintf(pipe_path, sizeof pipe_path, "%s/pipe", folder);
    EXPECT_EQUAL(mkfifo(pipe_path, 0600), 0); /* nobody writes */
    EXPECT_EQUAL(file_open(pipe_path, &size_bytes), -EINVAL);
    EXPECT_EQUAL(unlink(pipe_path), 0);
    EXPECT_EQUAL(file_open(folder, &size_bytes), -EINVAL);
    EXPECT_EQUAL(file_open("/dev/null", &size_bytes), -EINVAL);
    EXPECT_EQUAL(file_open(pipe_path, &size_bytes), -ENOENT);
    EXPECT_EQUAL(size_bytes, 1);
    /* The lowest free descriptor still is: none stayed open. */
    const int first = open(folder, O_RDONLY | O_CLOEXEC);
    EXPECT_EQUAL(close(first), 0);
    EXPECT_EQUAL(file_open(folder, &size_bytes), -EINVAL);
    EXPECT_EQUAL(open(folder, O_RDONLY | O_CLOEXEC), first);
    EXPECT_EQUAL(close(first), 0);
}

int main(void)
{
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/file", folder);
    RUN(a_file_is_made_with_its_mode_whatever_the_umask);
    RUN(a_file_is_replaced_with_its_mode);
    RUN(a_reader_of_the_old_file_keeps_it);
    RUN(what_cannot_be_written_whole_leaves_the_old_file);
    RUN(what_cannot_be_renamed_leaves_nothing_beside_it);
    RUN(a_path_that_is_too_long_is_refused);
    RUN(a_regular_file_is_opened_with_its_size_and_read);
    RUN(what_is_no_regular_file_is_refused_at_once);
    unlink(path);
    EXPECT_EQUAL(rmdir(folder), 0);
    return 0;
}
