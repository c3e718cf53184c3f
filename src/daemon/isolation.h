/* How agents that are processes are kept from us, by the settings and by who we are. */
#ifndef DAEMON_ISOLATION_H
#define DAEMON_ISOLATION_H

#include "api/isolation.h"
#include "daemon/settings.h"

enum api_isolation isolation_of(const struct settings *s);

#endif
