/* Billing mode (SPEC 5): override + derivation -> one of three modes, with its source. Cannot fail.
 */
#ifndef CORE_BILLING_H
#define CORE_BILLING_H

#include "core/derive.h"

enum billing_mode { BILLING_PLATFORM_MANAGED, BILLING_BYOK, BILLING_DISABLED, BILLING_MODE_COUNT };
enum billing_source {
    BILLING_CONSTANT_FALLBACK,
    BILLING_WORKSPACE_OVERRIDE,
    BILLING_DERIVED_PROVIDER,
    BILLING_DERIVED_DEFAULT,
    BILLING_SOURCE_COUNT
};
/* Bits. Each has a code and a text for people: billing_warning_code(), billing_warning_text(). */
enum billing_warning {
    BILLING_WARN_OVERRIDE_GARBLED = 1,
    BILLING_WARN_PLATFORM_MODEL_ON_BYOK = 2,
    BILLING_WARN_COUNT_BITS = 2
};

struct str billing_mode_name(enum billing_mode m);                    /* "platform_managed" ... */
bool billing_mode_from_name(struct str name, enum billing_mode *ret); /* exact, case-sensitive */
struct str billing_source_name(enum billing_source s);                /* "workspace_override" ... */
struct str billing_warning_code(unsigned one_bit);
struct str billing_warning_text(unsigned one_bit);

struct billing_facts {
    bool store_failed;     /* inputs could not be read: closed, whatever else is here */
    bool override_present; /* the column is not NULL */
    struct str override_raw;
    struct derive_input derive;
};

struct billing_decision {
    enum billing_mode mode;
    enum billing_source source;
    unsigned warnings; /* enum billing_warning bits */
    struct derive_result
        derived; /* always computed (also under an override): explains and strips */
    /*
     * The provider whose credential an agent may use in byok/disabled, and that platform_managed
     * routes by. NULL: no derivable provider (derivation failed, or byok on a platform model).
     */
    const struct registry_provider *provider;
};

/* trace may be NULL. */
struct billing_decision billing_decide(const struct billing_facts *f, struct derive_trace *trace);

#endif
