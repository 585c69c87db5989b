/*
 * Shared by conf_doc*.c only: the reference of all parameters, walked by conf_doc.c and written by one of the styles.
 */
#ifndef MTA_CONF_CONF_DOC_H
#define MTA_CONF_CONF_DOC_H

#include "core/conf/conf_int.h"

/* One parameter, as text for readers; nothing is escaped. */
struct conf_doc_entry {
    const char *name;
    const char *def;      /* as it would be written in the file */
    const char *computed; /* in words, of a default that is found out; def is "" then; else NULL */
    const char *doc;
    const char *remark; /* "A number, 1 to 100; each listener may have its own." */
};

/* Called in this order: begin, then for each section its section and entries or names, then end. */
struct conf_doc_style {
    void (*begin)(FILE *);
    void (*section)(FILE *, const char *title, const char *text, bool of_names);
    void (*entry)(FILE *, const struct conf_doc_entry *);
    /* Names of Postfix that are no parameters, "a, b, c", and what is said of all of them; NULL: left out. */
    void (*names)(FILE *, const char *names, const char *text);
    void (*end)(FILE *);
};

extern const struct conf_doc_style conf_doc_man, conf_doc_md, conf_doc_example;

/* The language of the file, a paragraph each; ends with NULL. */
extern const char *const conf_doc_language[];
/* Writes words so that no line is longer than 100 columns, each line after `prefix`. */
void conf_doc_wrap(FILE *, const char *prefix, const char *text);

#endif
