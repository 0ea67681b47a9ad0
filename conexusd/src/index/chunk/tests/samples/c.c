/* Lists. */
#ifndef LIST_H
#define LIST_H

#include <stdio.h>
#include "list.h"

#define MAX_ITEMS 16
#define SWAP(a, b) \
	do { int t = a; a = b; b = t; } while (0)

typedef struct node {
	int value;
	struct node *next;
} node_t;

typedef int (*compare_fn)(const void *, const void *);

enum color { RED, GREEN = 2 };

static const int limit = 5;
int counter, table[4];
extern int other_file(int a);
static DEFINE_MUTEX(list_lock);
DEFINE_SPINLOCK(fast_lock);

static struct file_operations fops = {
	.open = my_open,
	.release = my_release,
};

/* Adds a node. */
static __always_inline struct node *list_add(struct node *head, int value)
{
	struct node *n = malloc(sizeof(*n));

	n->value = value;
	n->next = head;
	return n;
}

static int __init list_init(void)
{
	return 0;
}

SYSCALL_DEFINE3(read, unsigned int, fd, char __user *, buf, size_t, count)
{
	return ksys_read(fd, buf, count);
}

static void (*handler(int signal))(int) { return NULL; }

int
main(argc, argv)
	int argc;
	char **argv;
{
	return list_add(NULL, argc) != NULL;
}
#endif
