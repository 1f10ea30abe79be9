function websocketExample() {
console.log('Creating socket');
let socket = new WebSocket(
'wss://app.yawe.dev/api/1/ce/examples/unsecure-endpoint?key=d59eb2859c284168ac48aef65046d5dd'
);
socket.onopen = () => {
console.log('Socket open.');
};
socket.onmessage = (message) => {
const data = JSON.parse(message.data);
console.log('Socket server message', data);
};
socket.onerror = (error) => {
console.error('Error ', error);
};
socket.onclose = (error) => {
console.error('Close ', error);
};
}
