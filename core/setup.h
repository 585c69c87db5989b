/*
 * What is made of one configuration before anything is opened: the rules and a service for each listener. The server
 * builds one at start and another at each reload; --check-config builds one and looks at the complaints.
 */
#ifndef MTA_SETUP_H
#define MTA_SETUP_H

#include "core/conf/conf.h"
#include "lookup/rules.h"
#include "proto/smtpd/smtpd.h"

struct setup {
    const struct conf *conf;
    struct rules *rules;
    struct smtpd_service **services; /* one for each listener of the configuration */
};

/*
 * Takes over a reference to conf. False when something is wrong; either way the report has the complaints, and the
 * setup is to be dropped. Zeroed memory is a dropped setup.
 */
bool setup_build(struct setup *, struct loop *, struct tables *, struct smtpd *, const struct conf *,
                 struct conf_report *);
/* Drops the references; sessions and questions under way keep theirs. */
void setup_drop(struct setup *);

/* Moves lines such as "PARAMETER: text" or "warning: FILE:LINE: text" to the report, with their place. */
void setup_report(struct conf_report *, const struct conf *, struct buf *lines);
/* Writes the report to the log; `fatal`: its errors are why the server ends. */
void setup_log_report(const struct conf_report *, bool fatal);

#endif
