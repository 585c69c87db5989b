/* Writing into a maildir: what is on the disk when, what is left behind when something fails, and under whose name. */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "delivery/maildir_file.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_ROOM 700

static char dir[64], box[128];

/* ---- faults: this program's own fsync ---- */

static atomic_int fsync_errno, fsync_good, fsyncs;

int fsync(int fd)
{
    fsyncs++;
    if (fsync_errno != 0 && fsync_good-- <= 0) {
        errno = fsync_errno;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/mta-maildir-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0777), 0);
    snprintf(box, sizeof box, "%s/deep/box", dir);
    fsync_errno = fsync_good = fsyncs = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* Files in a folder of the maildir; the name of the last one in `name`. */
static size_t count(const char *folder, char *name)
{
    char path[400];
    struct dirent *e;
    size_t n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/%s", box, folder);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.') {
            n++;
            if (name != NULL)
                snprintf(name, NAME_ROOM, "%s/%s", path, e->d_name);
        }
    if (d != NULL)
        closedir(d);
    return n;
}

static struct maildir_file *new_file(void)
{
    return maildir_file_new(box, "host", geteuid(), getegid());
}

static bool put(struct maildir_file *f, const char *text, bool last)
{
    return maildir_file_put(f, slice_str(text), last);
}

static void check_content(const char *path, const char *text)
{
    char got[200] = "";
    FILE *in = fopen(path, "r");

    assert_non_null(in);
    assert_int_equal(fread(got, 1, sizeof got, in), strlen(text));
    fclose(in);
    assert_string_equal(got, text);
}

static void test_whole(void **state)
{
    struct maildir_file *f = new_file();
    unsigned long sec, dev, ino, usec;
    struct stat st;
    char name[NAME_ROOM];

    (void)state;
    assert_int_equal(access(box, F_OK), -1);
    assert_true(put(f, "hello\n", true));
    assert_int_equal(count("tmp", NULL), 0);
    assert_int_equal(count("cur", NULL), 0);
    assert_int_equal(count("new", name), 1);
    check_content(name, "hello\n");
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(sscanf(strrchr(name, '/') + 1, "%lu.V%lxI%lxM%lu.host", &sec, &dev, &ino, &usec), 4);
    assert_true(dev == (unsigned long)st.st_dev && ino == (unsigned long)st.st_ino && usec < 1000000);
    assert_int_equal(stat(box, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    maildir_file_free(&f);
    assert_null(f);
    assert_int_equal(count("new", NULL), 1);
}

static void test_parts(void **state)
{
    struct maildir_file *f = new_file();
    char name[NAME_ROOM];

    (void)state;
    assert_true(put(f, "one\n", false));
    assert_int_equal(count("tmp", NULL), 1);
    assert_int_equal(count("new", NULL), 0);
    assert_true(put(f, "", false));
    assert_true(put(f, "two\n", false));
    assert_true(put(f, "", true));
    assert_int_equal(count("tmp", NULL), 0);
    assert_int_equal(count("new", name), 1);
    check_content(name, "one\ntwo\n");
    maildir_file_free(&f);
}

static void test_abandoned(void **state)
{
    struct maildir_file *f = new_file();

    (void)state;
    assert_true(put(f, "one\n", false));
    maildir_file_free(&f);
    assert_int_equal(count("tmp", NULL), 0);
    assert_int_equal(count("new", NULL), 0);
    f = new_file(); /* and one that never began */
    maildir_file_free(&f);
}

/* The file, then the folder it appears in: both are on the disk before anybody is told. */
static void test_synced(void **state)
{
    struct maildir_file *f = new_file();

    (void)state;
    assert_true(put(f, "x\n", true));
    maildir_file_free(&f);
    fsyncs = 0;
    f = new_file();
    assert_true(put(f, "x\n", false));
    assert_int_equal(fsyncs, 0);
    assert_true(put(f, "x\n", true));
    assert_int_equal(fsyncs, 2);
    maildir_file_free(&f);
}

static void test_sync_fails(void **state)
{
    static const int errors[] = {ENOSPC, EDQUOT, EIO};
    const char *doing;

    (void)state;
    for (int good = 0; good < 2; good++)
        for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
            struct maildir_file *f = new_file();

            if (i == 0 && good == 0) { /* the maildir is there, so that only two are left to fail */
                assert_true(put(f, "x\n", true));
                maildir_file_free(&f);
                f = new_file();
            }
            fsync_errno = errors[i];
            fsync_good = good;
            assert_false(put(f, "x\n", true));
            assert_int_equal(maildir_file_error(f, &doing), errors[i]);
            assert_non_null(strstr(doing, good == 0 ? "error writing message" : "sync maildir directory"));
            maildir_file_free(&f);
            fsync_errno = 0;
            assert_int_equal(count("tmp", NULL), 0);
            assert_int_equal(count("new", NULL), 1); /* the first one */
        }
}

static void test_folders_come_and_go(void **state)
{
    struct maildir_file *f = new_file();
    char path[200];

    (void)state;
    assert_true(put(f, "x\n", false));
    snprintf(path, sizeof path, "%s/new", box);
    assert_int_equal(rmdir(path), 0);
    assert_true(put(f, "x\n", true));
    assert_int_equal(count("new", NULL), 1);
    maildir_file_free(&f);
}

static void test_in_the_way(void **state)
{
    struct maildir_file *f = new_file();
    char path[200];
    const char *doing;
    FILE *out;

    (void)state;
    snprintf(path, sizeof path, "%s/deep", dir);
    out = fopen(path, "w");
    assert_non_null(out);
    fclose(out);
    assert_false(put(f, "x\n", true));
    assert_int_equal(maildir_file_error(f, &doing), ENOTDIR);
    assert_non_null(strstr(doing, "create maildir file "));
    maildir_file_free(&f);
}

/* Threads at work in one maildir at the same time: every message has a name of its own. */
#define THREADS  4
#define MESSAGES 100

static void *many(void *arg)
{
    (void)arg;
    for (int i = 0; i < MESSAGES; i++) {
        struct maildir_file *f = new_file();

        if (!put(f, "x\n", true))
            return f;
        maildir_file_free(&f);
    }
    return NULL;
}

static void test_names_are_unique(void **state)
{
    pthread_t threads[THREADS];
    void *failed;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(count("new", NULL), THREADS * MESSAGES);
    assert_int_equal(count("tmp", NULL), 0);
}

/* ---- another user: as root only ---- */

static void test_as_user(void **state)
{
    struct maildir_file *f;
    struct stat st;
    char name[NAME_ROOM];

    (void)state;
    if (geteuid() != 0)
        skip();
    f = maildir_file_new(box, "host", 65534, 65533);
    assert_true(put(f, "one\n", false));
    assert_int_equal(geteuid(), 0);
    assert_int_equal(getegid(), 0);
    assert_true(put(f, "two\n", true));
    maildir_file_free(&f);
    assert_int_equal(count("new", name), 1);
    assert_int_equal(stat(name, &st), 0);
    assert_true(st.st_uid == 65534 && st.st_gid == 65533);
    assert_int_equal(stat(box, &st), 0);
    assert_true(st.st_uid == 65534 && st.st_gid == 65533);
}

static void test_user_has_no_right(void **state)
{
    struct maildir_file *f;
    const char *doing;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(dir, 0755), 0); /* root's */
    f = maildir_file_new(box, "host", 65534, 65534);
    assert_false(put(f, "x\n", true));
    assert_int_equal(maildir_file_error(f, &doing), EACCES);
    maildir_file_free(&f);
    assert_int_equal(access(box, F_OK), -1);
    assert_int_equal(geteuid(), 0);
}

/* Other threads are who they were meanwhile. */
static void *watch(void *arg)
{
    const atomic_int *stop = arg;

    while (!*stop)
        if (geteuid() != 0 || getegid() != 0)
            return arg;
    return NULL;
}

static void test_other_threads_stay(void **state)
{
    static atomic_int stop;
    pthread_t thread;
    void *seen;

    (void)state;
    if (geteuid() != 0)
        skip();
    stop = 0;
    assert_int_equal(pthread_create(&thread, NULL, watch, &stop), 0);
    for (int i = 0; i < 50; i++) {
        struct maildir_file *f = maildir_file_new(box, "host", 65534, 65534);

        assert_true(put(f, "x\n", true));
        maildir_file_free(&f);
    }
    stop = 1;
    assert_int_equal(pthread_join(thread, &seen), 0);
    assert_null(seen);
}

static void test_host(void **state)
{
    char *host = maildir_file_host();

    (void)state;
    assert_true(host[0] != '\0');
    assert_null(strpbrk(host, "/:"));
    mem_free(host);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_whole),
        TEST(test_parts),
        TEST(test_abandoned),
        TEST(test_synced),
        TEST(test_sync_fails),
        TEST(test_folders_come_and_go),
        TEST(test_in_the_way),
        TEST(test_names_are_unique),
        TEST(test_as_user),
        TEST(test_user_has_no_right),
        TEST(test_other_threads_stay),
        TEST(test_host),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
