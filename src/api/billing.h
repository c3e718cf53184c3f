/* The billing-mode routes' own answer, which is owed even when the store is down. */
#ifndef API_BILLING_H
#define API_BILLING_H

#include "api/impl.h"

/* Adds the closed decision's fields to the error that is about to be answered. */
void billing_answer_closed(struct call *c);

#endif
