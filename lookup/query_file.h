/*
 * Query files: what mysql:FILE and sqlite:FILE read (mysql_table(5), sqlite_table(5)). Lines as in main.cf, without
 * expansion of $name. Read once into an immutable object that its users share.
 */
#ifndef MTA_LOOKUP_QUERY_FILE_H
#define MTA_LOOKUP_QUERY_FILE_H

#include "lookup/file_source.h"
#include "lookup/query_template.h"

#define QUERY_FILE_HOSTS_MAX 32

/* One of `hosts`. */
struct query_host {
    const char *label;  /* as it was written */
    const char *socket; /* path; NULL and no host: the library's default socket */
    const char *host;   /* name or numeric address */
    unsigned port;      /* 0: the default */
};

struct query_file {
    unsigned refs; /* loop thread only */
    struct arena arena;
    /* The parameters; strings are NULL when not set, unless there is a default. */
    const char *user, *password, *dbname, *hosts, *charset, *option_file, *option_group;
    const char *tls_cert_file, *tls_key_file, *tls_cafile, *tls_capath, *tls_ciphers;
    const char *dbpath, *domain, *query, *result_format, *table, *select_field, *where_field, *additional_conditions;
    bool tls_verify_cert, require_result_set;
    uint64_t expansion_limit; /* 0: none */
    uint64_t idle_interval_ms, retry_interval_ms;
    uint64_t timeout_ms; /* for one lookup, everything included */
    /* What follows from them. */
    struct query_host *host;
    size_t nhosts; /* at least 1 for mysql: */
    struct query_template *templates;
};

/* How file_source reads them; the content is a struct query_file with one reference. */
extern const struct file_source_kind query_file_mysql, query_file_sqlite;

struct query_file *query_file_ref(struct query_file *);
/* Nulls the pointer; NULL in it is fine. */
void query_file_unref(struct query_file **);

/* The answer to one lookup while it is put together of values. Embed it, zeroed, with these two set. */
struct query_answer {
    const struct query_file *file;
    struct slice key;
    struct buf text;
    uint64_t count;
    bool empty_value; /* one was left out, which deserves a warning */
    const char *error;
};
/*
 * Adds the value of one column: NULL (value.p) is left out, "" too. False when the answer became too large or had too
 * many values (expansion_limit): `error` says so.
 */
bool query_answer_add(struct query_answer *, struct slice value);

#endif
