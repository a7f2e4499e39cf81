/* A disk that loses its power, runs full or breaks: loaded before libc into the process under test (tests/it/power.rs).
 *
 * Of every file below $POWER_STATE it keeps, in $POWER_DISK, what a machine would find after a power loss: of a file's
 * bytes what was synced (and now and then, drawn, a write that the kernel wrote back by itself), of its name what the
 * directory's last sync made durable. $POWER_DISK/data/N holds the bytes of file N, $POWER_DISK/names-DIR the durable names of a
 * directory. Files ending in -shm, sockets and locks are left out: nobody counts on them.
 *
 * The first byte of $POWER_SWITCH says how the disk is: 0 as ever, 1 full (what would grow a file fails with ENOSPC),
 * 2 broken (one write or sync in four fails with EIO). It may change at any time. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FDS 4096
#define MOST_FILES 4096
#define LONGEST 1024

struct op { /* a write, or where data is null the file's new length */
    off_t at;
    size_t length;
    char *data;
    struct op *next;
};

struct file {
    char path[LONGEST]; /* empty: no such name any more */
    int disk;           /* its bytes on the disk; -1 before anybody opened it */
    struct op *first, *last;
};

static struct file files[MOST_FILES];
static int file_count;
static int fds[MOST_FDS]; /* 0 none, n + 1 file n, -1 a directory */
static char fd_paths[MOST_FDS][LONGEST];
static char state[LONGEST], disk[LONGEST];
static volatile unsigned char *mode;
static unsigned long long drawn;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ready;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

static unsigned draw(void) {
    drawn ^= drawn << 13;
    drawn ^= drawn >> 7;
    drawn ^= drawn << 17;
    return (unsigned)(drawn >> 33);
}

static int ends(const char *text, const char *with) {
    size_t a = strlen(text), b = strlen(with);
    return a >= b && strcmp(text + a - b, with) == 0;
}

static int counts(const char *path) {
    size_t length = strlen(state);
    return ready && strncmp(path, state, length) == 0 && (path[length] == '/' || path[length] == 0) &&
           !ends(path, "-shm") && !ends(path, ".lock") && !ends(path, ".sock");
}

static void apply(struct file *file, const struct op *op) {
    if (!op->data) {
        (void)!REAL(ftruncate)(file->disk, op->at);
    } else {
        (void)!REAL(pwrite)(file->disk, op->data, op->length, op->at);
    }
}

static void sync_file(struct file *file) {
    while (file->first) {
        struct op *op = file->first;
        apply(file, op);
        file->first = op->next;
        free(op->data);
        free(op);
    }
    file->last = NULL;
}

static void note(struct file *file, off_t at, const void *data, size_t length) {
    struct op *op = calloc(1, sizeof *op);
    op->at = at;
    op->length = length;
    if (data) {
        op->data = malloc(length ? length : 1);
        memcpy(op->data, data, length);
    }
    /* Written back by the kernel, before others that came earlier; it is written once more in its turn. */
    if (data && draw() % 8 == 0) {
        apply(file, op);
    }
    if (file->last) {
        file->last->next = op;
    } else {
        file->first = op;
    }
    file->last = op;
}

static struct file *file_of(const char *path, int create) {
    for (int n = 0; n < file_count; n++) {
        if (strcmp(files[n].path, path) == 0) {
            return &files[n];
        }
    }
    if (!create || file_count == MOST_FILES) {
        return NULL;
    }
    struct file *file = &files[file_count];
    snprintf(file->path, LONGEST, "%s", path);
    char name[LONGEST + 32];
    snprintf(name, sizeof name, "%s/data/%d", disk, file_count);
    file->disk = REAL(open)(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    file_count++;
    return file;
}

/* The names a directory has now become those it keeps. */
static void sync_names(const char *directory) {
    char list[LONGEST + 32], part[LONGEST + 48], text[LONGEST + 32];
    const char *below = directory + strlen(state);
    snprintf(list, sizeof list, "%s/names-%s", disk, *below ? below + 1 : "");
    snprintf(part, sizeof part, "%s.part", list);
    int out = REAL(open)(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (int n = 0; n < file_count; n++) {
        char *slash = strrchr(files[n].path, '/');
        if (slash && (size_t)(slash - files[n].path) == strlen(directory) &&
            strncmp(files[n].path, directory, strlen(directory)) == 0) {
            int length = snprintf(text, sizeof text, "%d %s\n", n, slash + 1);
            (void)!REAL(write)(out, text, (size_t)length);
        }
    }
    REAL(close)(out);
    REAL(rename)(part, list);
}

/* What lies there when the process begins is durable. */
static void take_in(const char *directory) {
    DIR *open_directory = opendir(directory);
    struct dirent *entry;
    while (open_directory && (entry = readdir(open_directory))) {
        char path[LONGEST];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] == '.' || stat(path, &status) || !S_ISREG(status.st_mode) || !counts(path)) {
            continue;
        }
        struct file *file = file_of(path, 1);
        int in = REAL(open)(path, O_RDONLY);
        static char buffer[1 << 16];
        ssize_t length;
        off_t at = 0;
        while ((length = REAL(read)(in, buffer, sizeof buffer)) > 0) {
            (void)!REAL(pwrite)(file->disk, buffer, (size_t)length, at);
            at += length;
        }
        REAL(close)(in);
    }
    if (open_directory) {
        closedir(open_directory);
    }
    sync_names(directory);
}

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("POWER_STATE"), *onto = getenv("POWER_DISK"), *how = getenv("POWER_SWITCH");
    if (!where || !onto || !how) {
        return;
    }
    snprintf(state, sizeof state, "%s", where);
    snprintf(disk, sizeof disk, "%s", onto);
    int in = REAL(open)(how, O_RDONLY);
    mode = mmap(NULL, 1, PROT_READ, MAP_SHARED, in, 0);
    REAL(close)(in);
    drawn = 0x9e3779b97f4a7c15ULL ^ (unsigned long long)getpid();
    ready = 1;
    take_in(state);
}

static int fails(int grows) {
    if (*mode == 1 && grows) {
        errno = ENOSPC;
        return 1;
    }
    if (*mode == 2 && draw() % 4 == 0) {
        errno = EIO;
        return 1;
    }
    return 0;
}

static struct file *of_fd(int fd) {
    return ready && fd >= 0 && fd < MOST_FDS && fds[fd] > 0 ? &files[fds[fd] - 1] : NULL;
}

static void opened(int fd, const char *path, int flags) {
    char whole[LONGEST];
    if (!ready || fd < 0 || fd >= MOST_FDS) {
        return;
    }
    fds[fd] = 0;
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else if (!getcwd(whole, sizeof whole) || strlen(whole) + strlen(path) + 2 > sizeof whole) {
        return;
    } else {
        strcat(strcat(whole, "/"), path);
    }
    struct stat status;
    if (!counts(whole) || fstat(fd, &status)) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (S_ISDIR(status.st_mode)) {
        fds[fd] = -1;
        snprintf(fd_paths[fd], LONGEST, "%s", whole);
    } else if (S_ISREG(status.st_mode)) {
        struct file *file = file_of(whole, 1);
        if (file) {
            fds[fd] = (int)(file - files) + 1;
            if (flags & O_TRUNC) {
                note(file, 0, NULL, 0);
            }
        }
    }
    pthread_mutex_unlock(&lock);
}

#define OPEN(name)                                                 \
    int name(const char *path, int flags, ...) {                   \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                              \
        int fd = ((int (*)(const char *, int, ...))real(#name))(path, flags, rights); \
        opened(fd, path, flags);                                   \
        return fd;                                                 \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MOST_FDS) {
        fds[fd] = 0;
    }
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *data, ssize_t done, off_t at) {
    struct file *file = of_fd(fd);
    if (file && done > 0) {
        pthread_mutex_lock(&lock);
        note(file, at, data, (size_t)done);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

static int grows(int fd, off_t upto) {
    struct stat status;
    return fstat(fd, &status) == 0 && upto > status.st_size;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!of_fd(fd)) {
        return REAL(write)(fd, data, length);
    }
    struct stat status;
    int appends = fcntl(fd, F_GETFL) & O_APPEND;
    off_t at = appends && fstat(fd, &status) == 0 ? status.st_size : lseek(fd, 0, SEEK_CUR);
    if (fails(grows(fd, at + (off_t)length))) {
        return -1;
    }
    return written(fd, data, REAL(write)(fd, data, length), at);
}

#define PWRITE(name, offset)                                              \
    ssize_t name(int fd, const void *data, size_t length, offset at) {    \
        if (of_fd(fd) && fails(grows(fd, (off_t)at + (off_t)length))) {   \
            return -1;                                                    \
        }                                                                 \
        return written(fd, data, ((ssize_t (*)(int, const void *, size_t, offset))real(#name))(fd, data, length, at), (off_t)at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset)                                            \
    int name(int fd, offset length) {                                     \
        struct file *file = of_fd(fd);                                    \
        if (file && fails(grows(fd, (off_t)length))) {                    \
            return -1;                                                    \
        }                                                                 \
        int done = ((int (*)(int, offset))real(#name))(fd, length);       \
        if (file && done == 0) {                                          \
            pthread_mutex_lock(&lock);                                    \
            note(file, (off_t)length, NULL, 0);                           \
            pthread_mutex_unlock(&lock);                                  \
        }                                                                 \
        return done;                                                      \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* The disk is quicker than the kernel's: what it holds counts, not what the real one does. */
static int synced(int fd) {
    struct file *file = of_fd(fd);
    if (file && fails(0)) {
        return -1;
    }
    pthread_mutex_lock(&lock);
    if (file) {
        sync_file(file);
    } else if (ready && fd >= 0 && fd < MOST_FDS && fds[fd] == -1) {
        sync_names(fd_paths[fd]);
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    return ready ? synced(fd) : REAL(fsync)(fd);
}

int fdatasync(int fd) {
    return ready ? synced(fd) : REAL(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
    int done = REAL(rename)(from, to);
    if (done == 0 && ready && counts(from) && counts(to)) {
        pthread_mutex_lock(&lock);
        struct file *gone = file_of(to, 0), *moved = file_of(from, 0);
        if (gone && gone != moved) {
            gone->path[0] = 0;
        }
        if (moved) {
            snprintf(moved->path, LONGEST, "%s", to);
        }
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int unlink(const char *path) {
    int done = REAL(unlink)(path);
    if (done == 0 && ready && counts(path)) {
        pthread_mutex_lock(&lock);
        struct file *gone = file_of(path, 0);
        if (gone) {
            gone->path[0] = 0;
        }
        pthread_mutex_unlock(&lock);
    }
    return done;
}
