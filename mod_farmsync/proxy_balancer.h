/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_proxy_balancer in front of the farm: its members are the farm's servers, each with the
 * server's name as route=.
 *
 * lbmethod=farmsync  chooses the member that is home to the visitor, or his alternate, or, for a
 * new one, the member with the lowest ratio of visitors to capacity stickysession      finds the
 * route in the affinity cookie by itself. What it is shown is true: where the home is gone the
 * alternate, nothing where the cookie is forged, and the home of a visitor who is known by an
 * expression. The member gets the client's own cookies
 */
#ifndef FS_PROXY_BALANCER_H
#define FS_PROXY_BALANCER_H

#include "proxy_module.h"

/* In a child. */
void fs_proxy_balancer_init(void);
void fs_proxy_balancer_register(apr_pool_t *pool);

#endif
