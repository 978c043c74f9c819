"""The door for HDF5 that comes from outside: links, declared sizes, damage; readers behind it may assume its word."""
