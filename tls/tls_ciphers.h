/* TLS versions, cipher suites and groups, as Postfix's parameters name them, in Mbed TLS's terms. */
#ifndef MTA_TLS_CIPHERS_H
#define MTA_TLS_CIPHERS_H

#include "core/base/buf.h"

#define TLS_SUITES_MAX 32
#define TLS_GROUPS_MAX 4

enum tls_suite_grade {
    TLS_SUITE_MEDIUM,
    TLS_SUITE_HIGH,
};

struct tls_suite {
    int id;
    const char *name, *standard_name;
    enum tls_suite_grade grade;
    int bits;
    const char *words;
};

/* Versions that are used: what is not of 1.2 and 1.3 does not exist here. */
struct tls_versions {
    bool v12, v13;
};

/* All of these complain to err as "WHAT: text" and "warning: WHAT: text", a line each; `what` names the parameter. */

/* ">=TLSv1.2", "!SSLv2, !TLSv1.3", "TLSv1.2". False: a name is unknown, or no version is left. */
bool tls_versions_parse(const char *what, const char *text, struct tls_versions *, struct buf *err);
/* "medium", "high"; "low" and "export" are medium. False: it is none, or "null", which is no encryption. */
bool tls_grade_parse(const char *what, const char *text, enum tls_suite_grade *, struct buf *err);
/*
 * The suites of a grade and better for these versions, without what `exclude` says, best first, ended by a 0. False:
 * none is left.
 */
bool tls_suites_select(const char *what, enum tls_suite_grade, const char *exclude, struct tls_versions,
                       int ids[TLS_SUITES_MAX], struct buf *err);
/* smtpd_tls_eecdh_grade: groups of Mbed TLS, ended by a 0. False: it is unknown. */
bool tls_groups_select(const char *what, const char *grade, uint16_t ids[TLS_GROUPS_MAX], struct buf *err);
/* NULL: not one of ours. */
const struct tls_suite *tls_suite_find(int id);

#endif
