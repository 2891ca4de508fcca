/* What a platform asks ThingsPanel's services, for the console. */
#ifndef ASK_PANEL_H
#define ASK_PANEL_H

#include <tpcore/ext/module.h>

/* Before the core is started. */
int ask_panel_add(struct tpc_core *core);
/* Asks and writes one line: the code and the data. what: "form" or "found"; the rest are its words. */
void ask_panel(struct tpc_core *core, const char *what, const char *who, const char *one,
               const char *two);

#endif
