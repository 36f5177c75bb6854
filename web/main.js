import uPlot from 'uplot'; document.getElementById('app').textContent = typeof uPlot;
