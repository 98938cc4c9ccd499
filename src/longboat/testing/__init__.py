"""What tests of Longboat and of programs that use it need: public, shipped."""
