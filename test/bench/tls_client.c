/*
 * The TLS clients of test/bench/run, by OpenSSL, since Python's would be slower than the servers. measures.py builds
 * and calls it: tls_client MODE PORT COUNT PROCESSES, against a port of 127.0.0.1 where TLS begins with the first byte.
 *
 *   new     COUNT sessions with a full handshake, the greeting and QUIT
 *   resume  the same, each resuming the first one of its process, which is not counted
 *   mail    COUNT sessions that authenticate by AUTH PLAIN and send a message of 4 KiB
 *   burst   COUNT sessions of one process each that are connected; says so, waits for a line, and then all shake hands
 *   idle    COUNT sessions that say EHLO; prints a line, and keeps them until standard input ends
 *
 * Prints "SECONDS RESUMED": the time of all, and how many of the sessions were resumed. Fails when any session does.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* 64 bytes of a message. */
#define LINE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"

struct client {
    SSL *ssl;
    int fd;
    char in[8192];
    size_t n;
};

static long *resumed; /* sessions; shared by all processes */
static int ready[2];  /* pipe: a byte from each process that waits for the start; "x" from one that failed */
static int go[2];     /* pipe: a byte for each process */

static SSL_CTX *context;
static SSL_SESSION *last; /* that may be resumed */
static struct sockaddr_in server = {.sin_family = AF_INET};

static void die(const char *what)
{
    fprintf(stderr, "tls_client: %s\n", what);
    ERR_print_errors_fp(stderr);
    _exit(write(ready[1], "x", 1) == 1 ? 1 : 2);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    if (SSL_session_reused(ssl))
        return 0; /* what came of the first one is good for all */
    SSL_SESSION_free(last);
    last = session;
    return 1; /* kept */
}

/* ---- one session ---- */

static void dial(struct client *c)
{
    int one = 1;

    c->n = 0;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0)
        die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
}

static void shake_hands(struct client *c, int resume)
{
    if (resume && last != NULL) {
        SSL_SESSION *copy = SSL_SESSION_dup(last); /* OpenSSL would not use the same one twice */

        SSL_set_session(c->ssl, copy);
        SSL_SESSION_free(copy);
    }
    if (SSL_connect(c->ssl) != 1)
        die("handshake failed");
}

static void hang_up(struct client *c)
{
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
}

/* Reads a reply and wants it to begin so. */
static void expect(struct client *c, const char *code)
{
    for (;;) {
        char *end = memchr(c->in, '\n', c->n);
        int got;

        if (end != NULL) {
            int last_line = c->in[3] == ' ';
            size_t used = (size_t)(end - c->in) + 1;

            if (strncmp(c->in, code, strlen(code)) != 0)
                die(c->in);
            memmove(c->in, c->in + used, c->n -= used);
            if (last_line)
                return;
            continue;
        }
        got = SSL_read(c->ssl, c->in + c->n, (int)(sizeof c->in - 1 - c->n));
        if (got <= 0)
            die("the server closed");
        c->n += (size_t)got;
        c->in[c->n] = '\0';
    }
}

static void say(struct client *c, const char *text, const char *code)
{
    if (SSL_write(c->ssl, text, (int)strlen(text)) <= 0)
        die("cannot write");
    expect(c, code);
}

static void send_mail(struct client *c)
{
    static char body[8192];

    if (body[0] == '\0') {
        strcpy(body, "Subject: bench\r\n\r\n");
        while (strlen(body) < 4096)
            strcat(body, LINE);
        strcat(body, ".\r\n");
    }
    say(c, "EHLO client.example\r\n", "250");
    say(c, "AUTH PLAIN AHUxQGhvc3RlZC5leGFtcGxlAHNlY3JldA==\r\n", "235"); /* "\\0u1@hosted.example\\0secret" */
    say(c, "MAIL FROM:<u1@hosted.example>\r\n", "250");
    say(c, "RCPT TO:<u2@hosted.example>\r\n", "250");
    say(c, "DATA\r\n", "354");
    say(c, body, "250");
}

/* ---- many ---- */

static void wait_for_start(void)
{
    char byte;

    if (write(ready[1], "", 1) != 1 || read(go[0], &byte, 1) != 1)
        die("cannot wait");
}

enum mode { NEW, RESUME, MAIL, BURST, IDLE };

static void session(enum mode mode, int count_it)
{
    struct client c;

    dial(&c);
    if (mode == BURST)
        wait_for_start();
    shake_hands(&c, mode == RESUME);
    expect(&c, "220");
    if (mode == MAIL)
        send_mail(&c);
    say(&c, "QUIT\r\n", "221");
    if (count_it)
        __atomic_add_fetch(resumed, SSL_session_reused(c.ssl), __ATOMIC_SEQ_CST);
    hang_up(&c);
}

static void child(enum mode mode, int sessions)
{
    if (mode == RESUME)
        session(mode, 0);
    if (mode != BURST)
        wait_for_start();
    while (sessions-- > 0)
        session(mode, 1);
    exit(0);
}

static void run(enum mode mode, int count, int processes)
{
    double began;
    int status, failed = 0;
    char byte;

    for (int i = 0; i < processes; i++)
        if (fork() == 0)
            child(mode, count / processes + (i < count % processes));
    for (int i = 0; i < processes; i++)
        if (read(ready[0], &byte, 1) != 1 || byte != '\0')
            exit(1);
    if (mode == BURST) {
        printf("ready\n");
        fflush(stdout);
        getchar();
    }
    began = now();
    for (int i = 0; i < processes; i++)
        if (write(go[1], "", 1) != 1)
            die("cannot start");
    while (wait(&status) > 0)
        failed |= status;
    printf("%f %ld\n", now() - began, *resumed);
    exit(failed != 0);
}

static void idle(int count)
{
    struct client *all = calloc((size_t)count, sizeof *all);

    for (int i = 0; i < count; i++) {
        dial(&all[i]);
        shake_hands(&all[i], 0);
        expect(&all[i], "220");
        say(&all[i], "EHLO client.example\r\n", "250");
    }
    printf("%d\n", count);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    for (int i = 0; i < count; i++)
        hang_up(&all[i]);
    free(all);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"new", "resume", "mail", "burst", "idle"};
    int mode = 0, count, processes;

    if (argc != 5)
        die("MODE PORT COUNT PROCESSES");
    while (mode < IDLE && strcmp(argv[1], modes[mode]) != 0)
        mode++;
    server.sin_port = htons((unsigned short)strtoul(argv[2], NULL, 10));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    count = (int)strtol(argv[3], NULL, 10);
    processes = mode == BURST ? count : (int)strtol(argv[4], NULL, 10);
    signal(SIGPIPE, SIG_IGN);
    resumed = mmap(NULL, sizeof *resumed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (resumed == MAP_FAILED || pipe(ready) != 0 || pipe(go) != 0)
        die("cannot begin");
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    if (mode == IDLE)
        idle(count);
    else
        run((enum mode)mode, count, processes);
    return 0;
}
