/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `twinfold drill --inside`: what runs in a drill host. It says what the host
 * can do ({"hello": ...}, as caps_to_json()), and then carries out
 * {"run": DRILL, "configuration": NAME, "seed": N}, each answered by
 * {"row": ...}; requests of victim.h come between. It ends with its host.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_INSIDE_H
#define TWINFOLD_AGENT_DRILLHOST_INSIDE_H

/* Returns an exit code (enum tf_exit). */
int inside_run(void);

#endif
