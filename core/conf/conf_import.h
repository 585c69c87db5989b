/* Shared by conf_import.c and conf_import_report.c. */
#ifndef MTA_CONF_CONF_IMPORT_H
#define MTA_CONF_CONF_IMPORT_H

#include "core/conf/conf_int.h"

struct conf_import {
    struct arena arena;
    const char *directory; /* absolute */
    struct conf_source source;
    struct conf_machine machine;
    struct conf_report report; /* of the parser */
};

/* The name of a service's section; in the arena. */
const char *conf_import_name(struct conf_import *, const struct conf_service *);
/* NULL, or why the section of a listener or transport is printed as comments. */
const char *conf_import_left_out(struct conf_import *, const struct conf_service *);
/* The name of a transport's option "-o NAME" that becomes a setting of its section; NULL: it is not supported. */
const char *conf_import_option(const struct conf_section *, const char *option);
/* A transport that needs no section. */
bool conf_import_implied(const struct conf_import *, const struct conf_service *);

/* What becomes of each line, in the order of the lines, and how many there are of each kind. */
void conf_import_report(struct conf_import *, FILE *);

#endif
