/*
 * unix:passwd.byname and unix:group.byname: the accounts of this host, which is how local_recipient_maps knows them.
 * The answer is the account's line as in the file, the password left out. getpwnam and getgrnam may ask a directory
 * server, so they run on a worker thread; the table holds the scope of its look-ups.
 */
#include "core/base/alloc.h"
#include "core/loop/work.h"
#include "lookup/table_int.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#define SCRATCH_MIN 1024
#define SCRATCH_MAX (1u << 20) /* a group with tens of thousands of members */
#define TIMEOUT_MS  30000

/* Looks `name` up with `scratch` of `size` bytes for its strings; 0, ENOENT or another error. The line is allocated. */
typedef int account_fn(const char *name, char *scratch, size_t size, char **line);

struct table_unix {
    struct table table;
    struct op_scope scope;
    account_fn *find;
};

struct query {
    account_fn *find;
    char *name;
    char *line; /* the answer */
    int error;
};

static int find_user(const char *name, char *scratch, size_t size, char **line)
{
    struct passwd user, *found;
    int error = getpwnam_r(name, &user, scratch, size, &found);

    if (error == 0 && found == NULL)
        return ENOENT;
    if (error == 0)
        *line = mem_printf("%s:x:%lu:%lu:%s:%s:%s", user.pw_name, (unsigned long)user.pw_uid,
                           (unsigned long)user.pw_gid, user.pw_gecos, user.pw_dir, user.pw_shell);
    return error;
}

static int find_group(const char *name, char *scratch, size_t size, char **line)
{
    struct group group, *found;
    struct buf text = {0};
    int error = getgrnam_r(name, &group, scratch, size, &found);

    if (error == 0 && found == NULL)
        return ENOENT;
    if (error == 0) {
        buf_printf(&text, "%s:x:%lu:", group.gr_name, (unsigned long)group.gr_gid);
        for (char **member = group.gr_mem; *member != NULL; member++)
            buf_printf(&text, "%s%s", member == group.gr_mem ? "" : ",", *member);
        *line = mem_strdup(buf_cstr(&text));
        buf_release(&text);
    }
    return error;
}

/* getpwnam(3) lists these as what some systems say instead of "not found". */
static bool means_not_found(int error)
{
    return error == ENOENT || error == ESRCH;
}

/* On a pool thread. */
static enum op_status look_up(void *arg)
{
    struct query *q = arg;
    size_t size = SCRATCH_MIN;
    char *scratch;

    do {
        scratch = mem_new(size);
        q->error = q->find(q->name, scratch, size, &q->line);
        mem_free(scratch);
        size *= 4;
    } while (q->error == ERANGE && size <= SCRATCH_MAX);
    return q->error == 0 ? OP_OK : means_not_found(q->error) ? OP_NOTFOUND : OP_TEMPFAIL;
}

static void free_query(void *arg)
{
    struct query *q = arg;

    mem_free(q->name);
    mem_free(q->line);
    mem_free(q);
}

static void on_done(void *owner, enum op_status status, const void *result)
{
    struct table_op *o = owner;
    const struct query *q = result;

    switch (status) {
    case OP_OK: table_found(o, slice_str(q->line)); break;
    case OP_NOTFOUND: table_notfound(o); break;
    case OP_TEMPFAIL: table_failed(o, strerror(q->error)); break;
    case OP_TIMEOUT: table_failed(o, "the account database does not answer"); break;
    }
}

static void unix_lookup(struct table *t, struct table_op *o)
{
    struct table_unix *u = (struct table_unix *)t;
    struct query *q = NEW(struct query);

    q->find = u->find;
    q->name = mem_strdup(o->key);
    work_run(t->tables->loop, &u->scope, "unix", TIMEOUT_MS, look_up, q, free_query, on_done, o);
}

static bool unix_open(struct table *t, const char *arg, struct buf *err)
{
    struct table_unix *u = (struct table_unix *)t;

    op_scope_init(&u->scope, "unix");
    if (strcmp(arg, "passwd.byname") == 0)
        u->find = find_user;
    else if (strcmp(arg, "group.byname") == 0)
        u->find = find_group;
    else
        buf_printf(err, "unix:%s: there are only unix:passwd.byname and unix:group.byname", arg);
    return u->find != NULL;
}

static void unix_close(struct table *t)
{
    op_scope_close(&((struct table_unix *)t)->scope);
}

const struct table_kind table_kind_unix = {
    .type = "unix",
    .size = sizeof(struct table_unix),
    .open = unix_open,
    .lookup = unix_lookup,
    .close = unix_close,
};
