/*
 * A file system for SQLite that fails on demand, in front of the real one: the n-th call of some kind, once or from
 * then on. A write that fails has written its first half, as a full disk does. Once installed it serves every
 * connection of the program.
 */
#ifndef TEST_QUEUE_FAULT_VFS_H
#define TEST_QUEUE_FAULT_VFS_H

#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>

enum fault_call {
    FAULT_OPEN = 1,
    FAULT_READ = 2,
    FAULT_WRITE = 4,
    FAULT_TRUNCATE = 8,
    FAULT_SYNC = 16,
    FAULT_SIZE = 32,
    FAULT_SHM = 64,
    FAULT_ALL = 127,
};

static struct {
    atomic_uint calls; /* the kinds that fail; 0: none */
    atomic_int after;  /* so many of them go well before */
    atomic_int times;  /* so many fail; then all is well again */
    atomic_int error;  /* errno */
    atomic_uint fired; /* calls that have failed */
} vfs_fault;

static inline void vfs_fault_set(unsigned calls, int after, int times, int error)
{
    vfs_fault.fired = 0;
    vfs_fault.after = after;
    vfs_fault.times = times;
    vfs_fault.error = error;
    vfs_fault.calls = calls;
}

static inline void vfs_fault_clear(void)
{
    vfs_fault.calls = 0;
}

static inline int vfs_fault_now(enum fault_call call)
{
    if ((vfs_fault.calls & (unsigned)call) == 0 || atomic_fetch_sub(&vfs_fault.after, 1) > 0)
        return 0;
    if (atomic_fetch_sub(&vfs_fault.times, 1) <= 0)
        return 0;
    vfs_fault.fired++;
    return 1;
}

static inline int vfs_fault_code(int io_error)
{
    return vfs_fault.error == ENOSPC && io_error == SQLITE_IOERR_WRITE ? SQLITE_FULL : io_error;
}

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real; /* right behind this */
};

#define REAL(f)         (((struct fault_file *)(f))->real)
#define REAL_DO(f, ...) (REAL(f)->pMethods->__VA_ARGS__)

static sqlite3_vfs fault_vfs, *real_vfs;

static int ff_close(sqlite3_file *f)
{
    return REAL_DO(f, xClose(REAL(f)));
}
static int ff_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return vfs_fault_now(FAULT_READ) ? SQLITE_IOERR_READ : REAL_DO(f, xRead(REAL(f), p, n, at));
}
static int ff_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (!vfs_fault_now(FAULT_WRITE))
        return REAL_DO(f, xWrite(REAL(f), p, n, at));
    if (n > 1)
        REAL_DO(f, xWrite(REAL(f), p, n / 2, at));
    return vfs_fault_code(SQLITE_IOERR_WRITE);
}
static int ff_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return vfs_fault_now(FAULT_TRUNCATE) ? SQLITE_IOERR_TRUNCATE : REAL_DO(f, xTruncate(REAL(f), size));
}
static int ff_sync(sqlite3_file *f, int flags)
{
    return vfs_fault_now(FAULT_SYNC) ? SQLITE_IOERR_FSYNC : REAL_DO(f, xSync(REAL(f), flags));
}
static int ff_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return vfs_fault_now(FAULT_SIZE) ? SQLITE_IOERR_FSTAT : REAL_DO(f, xFileSize(REAL(f), size));
}
static int ff_lock(sqlite3_file *f, int lock)
{
    return REAL_DO(f, xLock(REAL(f), lock));
}
static int ff_unlock(sqlite3_file *f, int lock)
{
    return REAL_DO(f, xUnlock(REAL(f), lock));
}
static int ff_reserved(sqlite3_file *f, int *out)
{
    return REAL_DO(f, xCheckReservedLock(REAL(f), out));
}
static int ff_control(sqlite3_file *f, int op, void *arg)
{
    return REAL_DO(f, xFileControl(REAL(f), op, arg));
}
static int ff_sector(sqlite3_file *f)
{
    return REAL_DO(f, xSectorSize(REAL(f)));
}
static int ff_device(sqlite3_file *f)
{
    return REAL_DO(f, xDeviceCharacteristics(REAL(f)));
}
static int ff_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    return vfs_fault_now(FAULT_SHM) ? SQLITE_IOERR_SHMSIZE : REAL_DO(f, xShmMap(REAL(f), page, size, extend, p));
}
static int ff_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return REAL_DO(f, xShmLock(REAL(f), at, n, flags));
}
static void ff_shm_barrier(sqlite3_file *f)
{
    REAL_DO(f, xShmBarrier(REAL(f)));
}
static int ff_shm_unmap(sqlite3_file *f, int del)
{
    return REAL_DO(f, xShmUnmap(REAL(f), del));
}

static int fv_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = ff_close,
        .xRead = ff_read,
        .xWrite = ff_write,
        .xTruncate = ff_truncate,
        .xSync = ff_sync,
        .xFileSize = ff_size,
        .xLock = ff_lock,
        .xUnlock = ff_unlock,
        .xCheckReservedLock = ff_reserved,
        .xFileControl = ff_control,
        .xSectorSize = ff_sector,
        .xDeviceCharacteristics = ff_device,
        .xShmMap = ff_shm_map,
        .xShmLock = ff_shm_lock,
        .xShmBarrier = ff_shm_barrier,
        .xShmUnmap = ff_shm_unmap,
    };
    struct fault_file *file = (struct fault_file *)f;
    int rc;

    (void)vfs;
    memset(file, 0, (size_t)fault_vfs.szOsFile);
    if (vfs_fault_now(FAULT_OPEN))
        return SQLITE_CANTOPEN;
    file->real = (sqlite3_file *)(file + 1);
    rc = real_vfs->xOpen(real_vfs, name, file->real, flags, out);
    file->base.pMethods = file->real->pMethods != NULL ? &methods : NULL;
    return rc;
}

static int fv_last_error(sqlite3_vfs *vfs, int n, char *text)
{
    (void)vfs;
    return vfs_fault.calls != 0 && vfs_fault.fired > 0 ? vfs_fault.error : real_vfs->xGetLastError(real_vfs, n, text);
}

static inline void fault_vfs_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    fault_vfs = *real_vfs;
    fault_vfs.zName = "fault";
    fault_vfs.pNext = NULL;
    fault_vfs.szOsFile = (int)sizeof(struct fault_file) + real_vfs->szOsFile;
    fault_vfs.xOpen = fv_open;
    fault_vfs.xGetLastError = fv_last_error;
    sqlite3_vfs_register(&fault_vfs, 1);
}

#endif
