/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where files are that belong to this command: beside it in a build tree, or
 * installed. No state, no locks.
 */
#ifndef TWINFOLD_AGENT_PLACES_H
#define TWINFOLD_AGENT_PLACES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* The folder of this command, with a slash at its end. */
void places_own_folder(char ret[PATH_MAX]);

/*
 * The first readable file of `n` places. A place is a pattern, as for glob(3),
 * of which the last match in the order of names counts; one without a slash in
 * front starts at the folder of this command.
 */
bool places_find(const char *const *places, size_t n, char ret[PATH_MAX]);

/* Is this program in one of the folders of PATH? */
bool places_in_path(const char *program);

#endif
