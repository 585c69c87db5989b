/*
 * For tests in C: a private mariadbd with a data directory, a port and a socket of its own, that can be stopped, frozen
 * and killed. The integration tests have the same in mariadb.py.
 */
#ifndef MTA_TEST_SUPPORT_MARIADBD_H
#define MTA_TEST_SUPPORT_MARIADBD_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <mariadb/mysql.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct mariadbd {
    char dir[64];
    char socket[96];
    int port;
    pid_t pid; /* 0: not running */
};

static inline _Noreturn void mariadbd_die(const char *what)
{
    fprintf(stderr, "mariadbd: %s\n", what);
    abort();
}

/*
 * A socket bound to a loopback port of its own. While it does not listen, connections to the port are refused. The port
 * is below those that the kernel gives to clients, so that nobody has it by chance when a server starts there again.
 */
static inline int mariadbd_bound_socket(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    for (int i = 0; i < 100; i++) {
        *port = 12000 + (int)arc4random_uniform(20000);
        a.sin_port = htons((uint16_t)*port);
        if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
    }
    mariadbd_die("no port");
}

/* An administrator's connection, to be closed with mysql_close; NULL when the server does not answer. */
static inline MYSQL *mariadbd_connect(const struct mariadbd *s)
{
    MYSQL *m = mysql_init(NULL);

    if (mysql_real_connect(m, "localhost", "root", NULL, NULL, 0, s->socket, 0) != NULL)
        return m;
    mysql_close(m);
    return NULL;
}

/* Runs one statement and throws its rows away. */
static inline void mariadbd_sql_on(MYSQL *m, const char *sql)
{
    MYSQL_RES *rows;

    if (mysql_query(m, sql) != 0) {
        fprintf(stderr, "%s: %s\n", sql, mysql_error(m));
        mariadbd_die("statement failed");
    }
    if ((rows = mysql_store_result(m)) != NULL)
        mysql_free_result(rows);
}

static inline void mariadbd_sql(const struct mariadbd *s, const char *sql)
{
    MYSQL *m = mariadbd_connect(s);

    if (m == NULL)
        mariadbd_die("no connection");
    mariadbd_sql_on(m, sql);
    mysql_close(m);
}

/* The number of one global status variable. */
static inline long mariadbd_status_on(MYSQL *m, const char *name)
{
    char sql[128];
    MYSQL_RES *rows;
    MYSQL_ROW row;
    long value;

    snprintf(sql, sizeof sql, "SHOW GLOBAL STATUS LIKE '%s'", name);
    if (mysql_query(m, sql) != 0 || (rows = mysql_store_result(m)) == NULL || (row = mysql_fetch_row(rows)) == NULL)
        mariadbd_die("no status");
    value = atol(row[1]);
    mysql_free_result(rows);
    return value;
}

/* False when it ends before it serves: somebody else may have taken the port. */
static inline bool mariadbd_try(struct mariadbd *s)
{
    char datadir[96], tmpdir[96], socket_path[128], port[32], user[64], log[96];
    struct passwd *me = getpwuid(getuid());
    const char *argv[] = {"mariadbd",
                          "--no-defaults",
                          "--bind-address=127.0.0.1",
                          "--skip-name-resolve",
                          "--skip-ssl",
                          "--innodb-buffer-pool-size=8M",
                          "--innodb-log-file-size=4M",
                          "--innodb-flush-log-at-trx-commit=0",
                          datadir,
                          tmpdir,
                          socket_path,
                          port,
                          user,
                          NULL};

    snprintf(datadir, sizeof datadir, "--datadir=%s/data", s->dir);
    snprintf(tmpdir, sizeof tmpdir, "--tmpdir=%s/tmp", s->dir);
    snprintf(socket_path, sizeof socket_path, "--socket=%s", s->socket);
    snprintf(port, sizeof port, "--port=%d", s->port);
    snprintf(user, sizeof user, "--user=%s", me ? me->pw_name : "nobody");
    snprintf(log, sizeof log, "%s/log", s->dir);
    s->pid = fork();
    if (s->pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server behind */
        dup2(fd, 1);
        dup2(fd, 2);
        execvp("mariadbd", (char *const *)argv);
        execv("/usr/sbin/mariadbd", (char *const *)argv);
        _exit(127);
    }
    for (int i = 0; i < 600; i++) {
        MYSQL *m = mariadbd_connect(s);

        if (m != NULL) {
            mysql_close(m);
            return true;
        }
        if (waitpid(s->pid, NULL, WNOHANG) != 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return false;
}

/* Starts it again where it was. */
static inline void mariadbd_start(struct mariadbd *s)
{
    for (int i = 0; i < 3; i++)
        if (mariadbd_try(s))
            return;
    mariadbd_die("did not start");
}

/* Makes the data directory and starts the server. */
static inline void mariadbd_create(struct mariadbd *s)
{
    char command[512];

    strcpy(s->dir, "/tmp/mta-mariadbd-XXXXXX");
    if (mkdtemp(s->dir) == NULL)
        mariadbd_die("no directory");
    snprintf(command, sizeof command, "%s/tmp", s->dir); /* in a shared one servers remove each other's tables */
    mkdir(command, 0700);
    snprintf(s->socket, sizeof s->socket, "%s/socket", s->dir);
    snprintf(command, sizeof command,
             "mariadb-install-db --no-defaults --datadir=%s/data --tmpdir=%s/tmp --user=\"$(id -un)\" --skip-test-db "
             "--auth-root-authentication-method=normal --innodb-log-file-size=4M >%s/log 2>&1",
             s->dir, s->dir, s->dir);
    if (system(command) != 0)
        mariadbd_die("mariadb-install-db failed (packages: test/setup/packages.sh test)");
    for (int i = 0; i < 5; i++) {
        close(mariadbd_bound_socket(&s->port));
        if (mariadbd_try(s))
            return;
    }
    mariadbd_die("did not start");
}

static inline void mariadbd_kill(struct mariadbd *s, int signum)
{
    kill(s->pid, signum);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

/* Stops all its threads: it neither answers nor goes away. Returns when that is so. */
static inline void mariadbd_freeze(struct mariadbd *s)
{
    kill(s->pid, SIGSTOP);
    waitpid(s->pid, NULL, WUNTRACED);
}

static inline void mariadbd_thaw(struct mariadbd *s)
{
    kill(s->pid, SIGCONT);
}

static inline void mariadbd_destroy(struct mariadbd *s)
{
    char command[128];

    if (s->pid != 0)
        mariadbd_kill(s, SIGKILL);
    snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
    if (system(command) != 0)
        mariadbd_die("cannot remove the directory");
}

#endif
