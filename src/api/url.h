/* URLs at which agents say they can be reached: ours to call later, so not any address will do. */
#ifndef API_URL_H
#define API_URL_H

#include "base/error.h"

/*
 * ERR_INVALID_REQUEST unless it is http:// or https:// with a host that is a name or an address
 * which is not loopback (localhost by name is fine), link-local, multicast, shared or reserved for
 * documentation. Names are not looked up here: who calls the URL checks the address it connects to.
 */
enum err url_check(struct str url, struct error *e) MUST_CHECK;

#endif
