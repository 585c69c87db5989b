/*
 * `mta passwd`: a hash of a password, for the tables of smtpd_sasl_password_maps. Asks twice on a terminal, without
 * echo; else the password is the first line of standard input.
 */
#include "core/cli.h"

#include "core/base/alloc.h"
#include "core/base/buf.h"
#include "proto/auth/auth_hash.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_MOST 512 /* bytes: what libcrypt takes */

/* One line into `password`; false: there is none, or it is too long. Unbuffered, so that no copy is left in stdio. */
static bool read_line(char password[PASSWORD_MOST])
{
    size_t n = 0;
    ssize_t got;
    char c = '\0';

    while ((got = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
        if (n < PASSWORD_MOST)
            password[n++] = c;
    if (n == PASSWORD_MOST || (n == 0 && got != 1))
        return false;
    password[n] = '\0';
    return true;
}

/* Asks on the terminal, which does not show what is typed. */
static bool ask(const char *prompt, char password[PASSWORD_MOST])
{
    struct termios before, quiet;
    bool ok;

    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return read_line(password);
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    signal(SIGINT, SIG_IGN); /* the terminal must not stay quiet */
    fputs(prompt, stderr);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    ok = read_line(password);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    signal(SIGINT, SIG_DFL);
    fputc('\n', stderr);
    return ok;
}

static bool get(char password[PASSWORD_MOST], char again[PASSWORD_MOST])
{
    if (!isatty(STDIN_FILENO)) {
        if (read_line(password) && password[0] != '\0')
            return true;
    } else if (ask("Password: ", password) && password[0] != '\0') {
        if (ask("Once more: ", again) && strcmp(password, again) == 0)
            return true;
        fputs("mta: these are two different passwords\n", stderr);
        return false;
    }
    fprintf(stderr, "mta: a password has 1 to %d bytes\n", PASSWORD_MOST - 1);
    return false;
}

int cli_passwd(const char *conf_path, int argc, char **argv)
{
    char password[PASSWORD_MOST] = "", again[PASSWORD_MOST] = "";
    struct buf hash = {0};
    int status = 1;

    (void)conf_path;
    (void)argv;
    if (argc > 0) {
        fputs("usage: mta passwd\nThe password is asked for, or read from standard input.\n", stderr);
        return 2;
    }
    if (get(password, again)) {
        if (auth_hash_make(password, &hash)) {
            puts(buf_cstr(&hash));
            status = 0;
        } else
            fprintf(stderr, "mta: no hash can be computed: %s\n", strerror(errno));
    }
    explicit_bzero(password, sizeof password);
    explicit_bzero(again, sizeof again);
    buf_release(&hash);
    return status;
}
