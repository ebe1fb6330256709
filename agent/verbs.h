/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verbs of the command `twinfold`, one file each. A verb parses its own
 * arguments with argp (argv[0] is "twinfold VERB") and returns the exit code
 * of the process.
 */
#ifndef TWINFOLD_AGENT_VERBS_H
#define TWINFOLD_AGENT_VERBS_H

enum tf_exit {
	TF_EXIT_OK = 0,     /* done, and all checks held */
	TF_EXIT_FAILED = 1, /* a check failed */
	TF_EXIT_USAGE = 2,  /* bad arguments, or files named in them */
	TF_EXIT_HOST = 77,  /* this host cannot; the reason is on stderr */
};

int tf_verb_bench(int argc, char **argv);
int tf_verb_ctl(int argc, char **argv);
int tf_verb_demo(int argc, char **argv);
int tf_verb_drill(int argc, char **argv);

#endif
