/* An NVIDIA driver of which only the version answers. */
int cuInit(unsigned flags);
int cuDriverGetVersion(int* version);

int cuInit(unsigned flags) {
  (void)flags;
  return 0;
}

int cuDriverGetVersion(int* version) {
  *version = FAKE_VERSION;
  return 0;
}
