/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Intrusive doubly linked list with a sentinel head. No locking. */
#ifndef TF_BASE_LIST_H
#define TF_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct tf_list {
	struct tf_list *next, *prev;
};

static inline void tf_list_init(struct tf_list *head)
{
	head->next = head->prev = head;
}

static inline bool tf_list_empty(const struct tf_list *head)
{
	return head->next == head;
}

static inline void tf_list_append(struct tf_list *head, struct tf_list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void tf_list_remove(struct tf_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	tf_list_init(node);
}

#define tf_container_of(ptr, type, member)                                     \
	((type *)((char *)(ptr)-offsetof(type, member)))

#define tf_list_for_each(pos, head, member)                                    \
	for (pos = tf_container_of((head)->next, __typeof__(*pos), member);    \
	     &pos->member != (head);                                           \
	     pos = tf_container_of(pos->member.next, __typeof__(*pos),         \
				   member))

#endif
