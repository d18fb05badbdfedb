//! Log set-up: plain lines or JSON.
