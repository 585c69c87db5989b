/*
 * See auth_state.h. Called by auth_guard.c: at start, on a worker thread, and at the end.
 *
 *   mta-auth-guard 1
 *   address NET FAILURES COUNTED-UNTIL BANNED-UNTIL
 *   login LOGIN FAILURES COUNTED-UNTIL BANNED-UNTIL
 *   place LOGIN NET KNOWN-UNTIL
 *   end LINES
 *
 * A login is written as xtext (RFC 3461), so that nothing in it can end a word or a line.
 */
#include "proto/auth/auth_state.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER   "mta-auth-guard 1"
#define FILE_MAX (64u << 20) /* more than the bounds of auth_counts.h can make */

static const char *const names[AUTH_RECORD_KINDS] = {
    [AUTH_RECORD_ADDRESS] = "address", [AUTH_RECORD_LOGIN] = "login", [AUTH_RECORD_PLACE] = "place"};

/* ---- writing ---- */

/* A record in a snapshot, followed by its login. */
struct packed {
    struct auth_record record;
    size_t nlogin;
};

void auth_state_add(struct buf *snapshot, const struct auth_record *r)
{
    struct packed p = {.record = *r, .nlogin = r->login != NULL ? strlen(r->login) : 0};

    buf_add(snapshot, &p, sizeof p);
    buf_add(snapshot, r->login, p.nlogin);
}

static uint64_t until_s(uint64_t wall_ms, uint64_t left_ms)
{
    return left_ms > 0 ? (wall_ms + left_ms + 999) / 1000 : 0;
}

static void format(const struct auth_record *r, struct slice login, uint64_t wall_ms, struct buf *out)
{
    char net[AUTH_NET_TEXT];

    buf_add_str(out, names[r->kind]);
    if (r->kind != AUTH_RECORD_ADDRESS) {
        buf_add_char(out, ' ');
        codec_xtext_encode(out, login);
    }
    if (r->kind != AUTH_RECORD_LOGIN)
        buf_printf(out, " %s", auth_net_format(net, r->net));
    if (r->kind == AUTH_RECORD_PLACE)
        buf_printf(out, " %llu\n", (unsigned long long)until_s(wall_ms, r->known_ms));
    else
        buf_printf(out, " %llu %llu %llu\n", (unsigned long long)r->failures,
                   (unsigned long long)until_s(wall_ms, r->counted_ms),
                   (unsigned long long)until_s(wall_ms, r->banned_ms));
}

void auth_state_format(struct slice snapshot, uint64_t wall_ms, struct buf *out)
{
    unsigned long long lines = 0;
    struct packed p;

    buf_add_str(out, HEADER "\n");
    for (; snapshot.n >= sizeof p; lines++) {
        memcpy(&p, snapshot.p, sizeof p);
        snapshot = slice_from(snapshot, sizeof p);
        format(&p.record, slice_head(snapshot, p.nlogin), wall_ms, out);
        snapshot = slice_from(snapshot, p.nlogin);
    }
    buf_printf(out, "end %llu\n", lines);
}

/* fdatasync: else a loss of power could leave an empty file in the place of the good one. */
static int write_all(int fd, struct slice text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);

        if (n < 0)
            return errno;
        text = slice_from(text, (size_t)n);
    }
    return fdatasync(fd) == 0 ? 0 : errno;
}

int auth_state_write(const char *path, struct slice text)
{
    char *fresh = mem_printf("%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = fd < 0 ? errno : write_all(fd, text);

    if (fd >= 0)
        close(fd);
    if (fd >= 0 && error == 0 && rename(fresh, path) != 0)
        error = errno;
    if (fd >= 0 && error != 0)
        unlink(fresh);
    mem_free(fresh);
    return error;
}

/* ---- reading ---- */

static bool number(struct slice *line, uint64_t *value)
{
    return slice_u64(slice_token(line, " "), INT64_MAX / 1000, value);
}

/* Seconds of the wall clock into milliseconds that are left. */
static bool time_left(struct slice *line, uint64_t wall_ms, uint64_t *left_ms)
{
    uint64_t at_s;

    if (!number(line, &at_s))
        return false;
    *left_ms = at_s * 1000 > wall_ms ? at_s * 1000 - wall_ms : 0;
    return true;
}

static bool net_of(struct slice word, struct auth_net *net)
{
    char text[AUTH_NET_TEXT] = "";

    if (word.n >= sizeof text)
        return false;
    if (word.n > 0)
        memcpy(text, word.p, word.n);
    *net = auth_net_parse(text);
    return net->family != 0;
}

/* `login` holds what the record points to. */
static bool parse_line(struct slice line, uint64_t wall_ms, struct auth_record *r, struct buf *login)
{
    struct slice kind = slice_token(&line, " ");
    int k = 0;

    while (k < AUTH_RECORD_KINDS && !slice_eq(kind, slice_str(names[k])))
        k++;
    if (k == AUTH_RECORD_KINDS)
        return false;
    *r = (struct auth_record){.kind = (enum auth_record_kind)k};
    buf_clear(login);
    if (k != AUTH_RECORD_ADDRESS) {
        if (!codec_xtext_decode(login, slice_token(&line, " ")) || buf_len(login) == 0 ||
            memchr(buf_slice(login).p, '\0', buf_len(login)) != NULL)
            return false;
        r->login = buf_cstr(login);
    }
    if (k != AUTH_RECORD_LOGIN && !net_of(slice_token(&line, " "), &r->net))
        return false;
    if (k == AUTH_RECORD_PLACE)
        return time_left(&line, wall_ms, &r->known_ms) && line.n == 0;
    return number(&line, &r->failures) && time_left(&line, wall_ms, &r->counted_ms) &&
           time_left(&line, wall_ms, &r->banned_ms) && line.n == 0;
}

/* Takes a line with its end off the text; false when there is none. */
static bool next_line(struct slice *text, struct slice *line)
{
    size_t nl = slice_find(*text, '\n');

    if (nl == SLICE_NOT_FOUND)
        return false;
    *line = slice_head(*text, nl);
    *text = slice_from(*text, nl + 1);
    return true;
}

bool auth_state_parse(struct slice text, uint64_t wall_ms, void (*fn)(void *arg, const struct auth_record *), void *arg)
{
    struct buf login = {0};
    struct slice line;
    uint64_t lines = 0, told;
    bool ok = next_line(&text, &line) && slice_eq(line, SLICE_LIT(HEADER)), end = false;

    while (ok && !end && (ok = next_line(&text, &line))) {
        struct auth_record r;

        end = slice_starts(line, SLICE_LIT("end "));
        if (end)
            ok = slice_u64(slice_from(line, 4), UINT32_MAX, &told) && told == lines && text.n == 0;
        else if ((ok = parse_line(line, wall_ms, &r, &login)))
            fn(arg, &r);
        lines++;
    }
    buf_release(&login);
    return ok;
}

int auth_state_read(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), error;
    struct stat st;
    ssize_t n = 1;

    if (fd < 0)
        return errno;
    error = fstat(fd, &st) != 0 ? errno : !S_ISREG(st.st_mode) || st.st_size > FILE_MAX ? EFBIG : 0;
    text->max = FILE_MAX;
    while (error == 0 && n > 0) {
        char *at = buf_reserve(text, 65536);

        if (at == NULL) {
            error = EFBIG;
            break;
        }
        n = read(fd, at, 65536);
        if (n < 0)
            error = errno;
        else
            buf_commit(text, (size_t)n);
    }
    close(fd);
    return error;
}
