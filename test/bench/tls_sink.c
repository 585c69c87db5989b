/*
 * smtp-sink with STARTTLS, which Postfix's has not: takes every message and throws it away. sinks.py builds and runs
 * it: tls_sink PORT CERTIFICATE KEY, on 127.0.0.1. A thread for each connection. After each message it prints
 * "mesg=N\r", as smtp-sink -c does. A message that comes in clear is refused.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    SSL *ssl; /* NULL: in clear */
    int fd;
    size_t at, n; /* what was read and not yet used */
    char in[16384];
    size_t said;
    char out[4096]; /* replies, sent before more is read */
};

static SSL_CTX *context;
static long messages;

static void die(const char *what)
{
    fprintf(stderr, "tls_sink: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- bytes ---- */

static int flush(struct client *c)
{
    size_t n = c->said;

    c->said = 0;
    if (n == 0)
        return 1;
    return c->ssl != NULL ? SSL_write(c->ssl, c->out, (int)n) > 0 : write(c->fd, c->out, n) == (ssize_t)n;
}

static void say(struct client *c, const char *text)
{
    size_t n = strlen(text);

    if (c->said + n > sizeof c->out)
        flush(c);
    memcpy(c->out + c->said, text, n);
    c->said += n;
}

/* The next line, without its CRLF and cut to what fits; 0: the connection has ended. */
static int next_line(struct client *c, char *line, size_t size)
{
    size_t n = 0;

    for (;;) {
        while (c->at < c->n) {
            char byte = c->in[c->at++];

            if (byte == '\n') {
                line[n - (n > 0 && line[n - 1] == '\r')] = '\0';
                return 1;
            }
            if (n + 1 < size)
                line[n++] = byte;
        }
        if (!flush(c))
            return 0;
        ssize_t got = c->ssl != NULL ? SSL_read(c->ssl, c->in, sizeof c->in) : read(c->fd, c->in, sizeof c->in);

        if (got <= 0)
            return 0;
        c->at = 0;
        c->n = (size_t)got;
    }
}

/* ---- a session ---- */

static int start_tls(struct client *c)
{
    say(c, "220 go ahead\r\n");
    if (!flush(c))
        return 0;
    c->at = c->n = 0;
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    return SSL_accept(c->ssl) == 1;
}

static int take_message(struct client *c)
{
    char line[1024];

    say(c, "354 go ahead\r\n");
    do
        if (!next_line(c, line, sizeof line))
            return 0;
    while (strcmp(line, ".") != 0);
    printf("mesg=%ld\r", __atomic_add_fetch(&messages, 1, __ATOMIC_SEQ_CST));
    fflush(stdout);
    say(c, "250 taken\r\n");
    return 1;
}

static void serve(struct client *c)
{
    char line[1024];

    say(c, "220 sink ESMTP\r\n");
    while (next_line(c, line, sizeof line)) {
        if (strncasecmp(line, "EHLO", 4) == 0)
            say(c, c->ssl != NULL ? "250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
                                  : "250-sink\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n");
        else if (strcasecmp(line, "QUIT") == 0) {
            say(c, "221 bye\r\n");
            flush(c);
            return;
        } else if (strcasecmp(line, "STARTTLS") == 0 && c->ssl == NULL) {
            if (!start_tls(c))
                return;
        } else if (c->ssl == NULL)
            say(c, "530 STARTTLS first\r\n");
        else if (strcasecmp(line, "DATA") != 0)
            say(c, "250 fine\r\n");
        else if (!take_message(c))
            return;
    }
}

static void *run(void *arg)
{
    struct client *c = calloc(1, sizeof *c);
    int one = 1;

    if (c == NULL)
        die("no memory");
    c->fd = (int)(intptr_t)arg;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    serve(c);
    if (c->ssl != NULL) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    free(c);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    if (argc != 4)
        die("PORT CERTIFICATE KEY");
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1)
        die("cannot read the certificate");
    here.sin_port = htons((unsigned short)strtoul(argv[1], NULL, 10));
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || listen(fd, 1000) != 0)
        die("cannot listen");
    for (;;) {
        int client = accept(fd, NULL, NULL);
        pthread_t thread;

        if (client < 0 || pthread_create(&thread, NULL, run, (void *)(intptr_t)client) != 0)
            die("cannot accept");
        pthread_detach(thread);
    }
}
