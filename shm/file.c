/* Replacing a file, and reading one; see file.h. */
#include "shm/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int descriptor, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = write(descriptor, bytes + done, size - done);
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

int file_replace(const char *path, const void *bytes, size_t size, mode_t mode)
{
    char temporary[FILE_PATH_BYTES_MAX];
    const int length = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof temporary)
        return -ENAMETOOLONG;
    const int descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    int result = write_all(descriptor, bytes, size);
    /* Before the rename: a machine that loses power must not be left with a name and no bytes. */
    if (result == 0 && (fchmod(descriptor, mode) != 0 || fsync(descriptor) != 0))
        result = -errno;
    if (close(descriptor) != 0 && result == 0)
        result = -errno;
    if (result == 0 && rename(temporary, path) != 0)
        result = -errno;
    if (result != 0)
        unlink(temporary);
    return result;
}

int file_open(const char *path, uint64_t *size_bytes)
{
    struct stat facts;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return -errno;
    int result = fstat(descriptor, &facts) != 0 ? -errno : 0;
    if (result == 0 && !S_ISREG(facts.st_mode))
        result = -EINVAL;
    if (result != 0) {
        close(descriptor);
        return result;
    }
    *size_bytes = (uint64_t)facts.st_size;
    return descriptor;
}

ssize_t file_read(int descriptor, void *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t n = read(descriptor, (char *)bytes + done, size - done);
        if (n < 0 && errno == EINTR) /* a signal, while a network's file system answers */
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}
