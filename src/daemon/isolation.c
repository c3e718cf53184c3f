#include "daemon/isolation.h"

#include <unistd.h>

enum api_isolation
isolation_of(const struct settings *s)
{
    if (strcmp(s->isolation, "sandbox") == 0)
        return API_ISOLATION_SANDBOX;
    if (geteuid() == 0)
        return API_ISOLATION_UID;
    return strcmp(s->isolation, "none") == 0 ? API_ISOLATION_NONE : API_ISOLATION_SANDBOX;
}
