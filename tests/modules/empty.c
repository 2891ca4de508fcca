/* A shared object that is no module. */
int modules_test_nothing(void);

int modules_test_nothing(void)
{
    return 0;
}
